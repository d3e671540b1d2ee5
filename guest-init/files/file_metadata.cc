#include "guest-init/files/file_metadata.h"

#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string_view>

namespace guest_init {
namespace {

constexpr std::size_t kLargestAttribute = 64u << 10;  // XATTR_SIZE_MAX, and XATTR_LIST_MAX

bool is_kept(std::string_view name) {
  return name == kCapabilityAttribute || name.starts_with("user.") ||
         name == "system.posix_acl_access" || name == "system.posix_acl_default";
}

}  // namespace

std::vector<std::byte> extended_attribute(int fd, const char* name) {
  std::vector<std::byte> value(kLargestAttribute);
  const ssize_t size = fgetxattr(fd, name, value.data(), value.size());
  value.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
  return value;
}

std::vector<protocol::files::ExtendedAttribute> kept_attributes(int fd) {
  std::vector<protocol::files::ExtendedAttribute> attributes;
  std::string names(kLargestAttribute, '\0');
  const ssize_t size = flistxattr(fd, names.data(), names.size());
  names.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
  for (std::size_t at = 0; at < names.size(); at += std::strlen(names.c_str() + at) + 1) {
    const char* name = names.c_str() + at;
    if (!is_kept(name)) continue;
    std::vector<std::byte> value = extended_attribute(fd, name);
    if (!value.empty()) attributes.push_back({.name = name, .value = std::move(value)});
  }
  return attributes;
}

std::string link_target(int directory, const std::string& name) {
  std::array<char, 4096> target{};
  const ssize_t size = readlinkat(directory, name.c_str(), target.data(), target.size());
  return size < 0 ? std::string() : std::string(target.data(), static_cast<std::size_t>(size));
}

}  // namespace guest_init
