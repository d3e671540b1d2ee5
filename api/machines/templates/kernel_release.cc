#include "api/machines/templates/kernel_release.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cctype>
#include <string_view>

#include "vmm/base/mapped_region.h"
#include "vmm/base/unique_fd.h"

namespace engine {

namespace {

using base::Code;
using base::Error;
using base::Result;

constexpr std::string_view kBanner = "Linux version ";
constexpr std::size_t kLongestRelease = 64;  // __NEW_UTS_LEN

bool belongs_to_release(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         std::string_view(".+-_~").find(c) != std::string_view::npos;
}

}  // namespace

Result<std::string> kernel_release(const std::filesystem::path& kernel) {
  const base::UniqueFd file(::open(kernel.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) != 0) return base::errno_error(kernel.string());
  const Error none{Code::kNotFound, kernel.string() + " is not an uncompressed Linux kernel"};
  if (status.st_size <= 0) return none;
  const auto mapped = base::MappedRegion::map(static_cast<std::size_t>(status.st_size), PROT_READ,
                                              MAP_PRIVATE, file.get());
  if (!mapped) return mapped.error();
  const std::string_view text(reinterpret_cast<const char*>(mapped->data()), mapped->size());
  // The words alone also stand in a format string; the banner goes on with a digit.
  for (std::size_t at = text.find(kBanner); at != std::string_view::npos;
       at = text.find(kBanner, at + 1)) {
    const std::string_view rest = text.substr(at + kBanner.size(), kLongestRelease);
    std::size_t size = 0;
    while (size < rest.size() && belongs_to_release(rest[size])) ++size;
    if (size > 0 && std::isdigit(static_cast<unsigned char>(rest[0])) != 0)
      return std::string(rest.substr(0, size));
  }
  return none;
}

}  // namespace engine
