#include "api/privileged/uid_range.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>
#include <string>

#include "vmm/base/file_lock.h"

namespace engine {

namespace {

using base::Code;
using base::Error;
using base::Result;
namespace fs = std::filesystem;

/// Numbers of the ranges that processes are in, whoever they belong to.
std::set<std::uint32_t> lived_in() {
  std::set<std::uint32_t> ranges;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator("/proc", ignored)) {
    std::ifstream status(entry.path() / "status");  // none for what is no process
    for (std::string line; std::getline(status, line);) {
      if (!line.starts_with("Uid:")) continue;
      std::istringstream numbers(line.substr(4));
      for (uid_t uid = 0; numbers >> uid;)
        if (uid >= UidRange::kFirst) ranges.insert((uid - UidRange::kFirst) / UidRange::kUids);
      break;
    }
  }
  return ranges;
}

fs::path memory_of(const fs::path& state) { return state / "uid-range"; }

std::optional<std::uint32_t> remembered(const fs::path& state) {
  std::ifstream file(memory_of(state));
  std::uint32_t number = 0;
  if (file >> number && number < UidRange::kRanges) return number;
  return std::nullopt;
}

Result<void> remember(const fs::path& state, std::uint32_t number) {
  const fs::path path = memory_of(state);
  const fs::path fresh = path.string() + ".new";
  const std::string text = std::to_string(number) + "\n";
  const base::UniqueFd file(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::fsync(file.get()) != 0 || ::rename(fresh.c_str(), path.c_str()) != 0)
    return base::errno_error("write " + path.string());
  return {};
}

/// The state directory that a range's file names.
std::string owner_in(const base::UniqueFd& file) {
  std::string text(4096, '\0');
  const ssize_t size = ::pread(file.get(), text.data(), text.size(), 0);
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  return text;
}

Result<void> write_owner(const base::UniqueFd& file, const std::string& owner) {
  if (::ftruncate(file.get(), 0) != 0 ||
      ::pwrite(file.get(), owner.data(), owner.size(), 0) != static_cast<ssize_t>(owner.size()))
    return base::errno_error("write a range of uids");
  return {};
}

}  // namespace

Result<UidRange> UidRange::claim(const fs::path& registry, const fs::path& state) {
  std::error_code error;
  for (const fs::path& directory : {registry, state})
    if (fs::create_directories(directory, error); error)
      return Error{Code::kInternal, "make " + directory.string() + ": " + error.message()};
  const auto before = remembered(state);
  const std::set<std::uint32_t> lived = lived_in();
  // Its lock is waited for: a daemon that was killed leaves it to a child for a moment.
  const auto take = [&](std::uint32_t number,
                        std::chrono::milliseconds patience) -> Result<UidRange> {
    auto lock = base::lock_file((registry / std::to_string(number)).string(), patience);
    if (!lock) return lock.error();
    const std::string owner = owner_in(*lock);
    const bool own = number == before && (owner.empty() || owner == state.string());
    if (!own && lived.contains(number))
      return Error{Code::kAlreadyExists, "processes live in this range of uids"};
    RETURN_IF_ERROR(write_owner(*lock, state.string()));
    RETURN_IF_ERROR(remember(state, number));
    return UidRange(number, *std::move(lock));
  };
  if (before)
    if (auto taken = take(*before, std::chrono::seconds(2)); taken) return taken;
  for (std::uint32_t number = 0; number < kRanges; ++number) {
    auto taken = take(number, std::chrono::milliseconds(0));
    if (taken || taken.error().code != Code::kAlreadyExists) return taken;
  }
  return Error{Code::kResourceExhausted, "every range of uids on this host is in use"};
}

}  // namespace engine
