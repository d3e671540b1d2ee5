#include "api/privileged/host_groups.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <utility>

#include "api/privileged/local_privileged.h"

namespace engine {

namespace {

using base::Result;
namespace fs = std::filesystem;

// What a daemon with a few hundred containers has resident; unused, it costs nobody anything.
constexpr const char* kProtectedBytes = "67108864";

Result<void> write_file(const fs::path& path, const std::string& text) {
  const base::UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return base::errno_error("open " + path.string());
  if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return base::errno_error("write " + path.string());
  return {};
}

/// The cgroup v2 directory this process is in.
fs::path own_group(const fs::path& mount) {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("0::/")) return mount / line.substr(4);
  return mount;
}

void end_layer_tools(const fs::path& root) {
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(root, ignored)) {
    if (!entry.path().filename().string().starts_with("layer-")) continue;
    [[maybe_unused]] const auto ended = write_file(entry.path() / "cgroup.kill", "1");
    ::rmdir(entry.path().c_str());  // one that is still ending goes with the next daemon
  }
}

}  // namespace

std::string host_tag(const fs::path& state) {
  std::uint32_t hash = 2166136261u;  // FNV-1a
  for (const char c : state.string()) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return fmt::format("{:06x}", hash & 0xffffffu);
}

Result<HostGroups> HostGroups::open(const std::string& tag) {
  auto root = LocalPrivileged::make_group_root("containervm-" + tag);
  if (!root) return root.error();
  fs::path before = own_group(root->parent_path());
  return enter(*std::move(root), std::move(before));
}

Result<HostGroups> HostGroups::enter(fs::path root, fs::path before) {
  const fs::path daemon = root / "daemon";
  if (before == daemon) before = root.parent_path();
  if (::mkdir(daemon.c_str(), 0755) != 0 && errno != EEXIST)
    return base::errno_error("make cgroup " + daemon.string());
  // A group's protection counts as far as its parent has some.
  for (const fs::path& group : {root, daemon})
    RETURN_IF_ERROR(write_file(group / "memory.min", kProtectedBytes));
  end_layer_tools(root);
  RETURN_IF_ERROR(write_file(daemon / "cgroup.procs", "0"));
  return HostGroups(std::move(root), std::move(before));
}

HostGroups::HostGroups(HostGroups&& other) noexcept
    : root_(std::exchange(other.root_, {})), before_(std::move(other.before_)) {}

HostGroups& HostGroups::operator=(HostGroups&& other) noexcept {
  std::swap(root_, other.root_);
  std::swap(before_, other.before_);
  return *this;
}

HostGroups::~HostGroups() {
  if (root_.empty()) return;
  // The group it came from may be gone, or have got groups of its own meanwhile.
  if (!write_file(before_ / "cgroup.procs", "0")) [[maybe_unused]]
    const auto moved = write_file(root_.parent_path() / "cgroup.procs", "0");
  ::rmdir((root_ / "daemon").c_str());
  ::rmdir(root_.c_str());
}

Result<void> protect_from_oom() {
  return write_file("/proc/self/oom_score_adj", std::to_string(kDaemonOomScore));
}

}  // namespace engine
