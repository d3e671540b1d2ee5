#include "images/store/layers/layer_group.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <string_view>
#include <utility>

namespace images {

namespace {

// The most memory: that of the process (sandbox.cc bounds its address space) and what it has
// written but the kernel not yet to the disk. At the limit the process waits for that.
constexpr std::string_view kMemory = "2147483648";
constexpr std::string_view kTasks = "1";

base::Result<void> write_setting(const std::string& path, std::string_view value) {
  const base::UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return base::errno_error("open " + path);
  if (::write(file.get(), value.data(), value.size()) != static_cast<ssize_t>(value.size()))
    return base::errno_error("write " + path);
  return {};
}

}  // namespace

base::Result<LayerGroup> LayerGroup::make(const std::string& parent) {
  if (parent.empty()) return LayerGroup({}, {});
  static std::atomic<std::uint64_t> next = 0;
  std::string path;
  do {  // an earlier daemon may have left some
    path = parent + "/layer-" + std::to_string(next++);
    if (::mkdir(path.c_str(), 0755) == 0) break;
    if (errno != EEXIST) return base::errno_error("make cgroup " + path);
  } while (true);
  LayerGroup group(path, base::UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
  if (!group.directory_) return base::errno_error("open cgroup " + path);
  RETURN_IF_ERROR(write_setting(path + "/memory.max", kMemory));
  RETURN_IF_ERROR(write_setting(path + "/pids.max", kTasks));
  return group;
}

LayerGroup::LayerGroup(LayerGroup&& other) noexcept
    : path_(std::exchange(other.path_, {})), directory_(std::move(other.directory_)) {}

LayerGroup::~LayerGroup() {
  if (!path_.empty()) ::rmdir(path_.c_str());
}

}  // namespace images
