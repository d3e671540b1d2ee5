#include "guest-init/container/container_filesystem.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "guest-init/container/device_nodes.h"
#include "guest-init/container/mount_options.h"
#include "guest-init/protocol/docker_defaults.h"
#include "guest-init/system/text_files.h"

namespace guest_init {
namespace {

/// The directory of a container's ext4 that holds what the container writes. Disks that exist have
/// it under this name.
constexpr const char* kOwnDirectory = "1";
constexpr unsigned long kNoExecution = MS_NOSUID | MS_NODEV | MS_NOEXEC;

std::vector<std::string> strings(auto& views) { return {views.begin(), views.end()}; }

/// What of `wanted` is not in `present`.
std::vector<std::string> missing(const std::vector<std::string>& wanted,
                                 const std::vector<std::string>& present) {
  std::vector<std::string> result;
  for (const std::string& item : wanted)
    if (std::find(present.begin(), present.end(), item) == present.end()) result.push_back(item);
  return result;
}

base::Result<void> mask(int target) {
  struct stat status {};
  if (fstat(target, &status) != 0) return base::errno_error("stat");
  if (S_ISDIR(status.st_mode)) {
    auto empty = new_mount("tmpfs", {{"source", "tmpfs"}, {"ro", ""}, {"nr_inodes", "2"}},
                           MOUNT_ATTR_RDONLY);
    if (!empty) return std::move(empty).error();
    return move_mount_to(empty->get(), target);
  }
  auto null = clone_mount(AT_FDCWD, "/dev/null");
  if (!null) return std::move(null).error();
  return move_mount_to(null->get(), target);
}

/// How many names a path has.
std::size_t depth(const std::string& path) {
  std::size_t names = 0;
  for (std::size_t i = 0; i < path.size(); ++i)
    if (path[i] != '/' && (i == 0 || path[i - 1] == '/')) ++names;
  return names;
}

base::Result<void> mount_tmpfs(const protocol::PrepareContainer::Tmpfs& tmpfs,
                               const RootDirectory& root) {
  auto options = parse_tmpfs_options(tmpfs.options);
  if (!options) return std::move(options).error();
  options->parameters.emplace_back("source", "tmpfs");
  auto mount = new_mount("tmpfs", options->parameters, options->attributes);
  if (!mount) return std::move(mount).error();
  auto target = root.directory(tmpfs.path);
  if (!target) return std::move(target).error();
  return move_mount_to(mount->get(), target->get());
}

/// Shows the file `path` of guest-init's as `place`.
base::Result<void> mount_file(const std::string& path, const std::string& place,
                              const RootDirectory& root) {
  auto copy = clone_mount(AT_FDCWD, path);
  if (!copy) return std::move(copy).error();
  auto target = root.file(place);
  if (!target) return std::move(target).error();
  return move_mount_to(copy->get(), target->get());
}

base::Result<void> protect(int target) {
  auto copy = clone_mount(target, "");
  if (!copy) return std::move(copy).error();
  RETURN_IF_ERROR(make_read_only(copy->get(), true));
  return move_mount_to(copy->get(), target);
}

}  // namespace

base::Result<void> ContainerFilesystem::prepare_stage(const std::string& stage) {
  for (const char* name :
       {"", "/proc", "/sys", "/dev", "/root", "/disk", "/empty", "/layers", "/volumes"})
    RETURN_IF_ERROR(make_directories(stage + name));
  return {};
}

base::Result<void> ContainerFilesystem::stage() {
  RETURN_IF_ERROR(make_directories(files_));
  RETURN_IF_ERROR(make_device_directory(stage_ + "/dev", shm_bytes_));
  RETURN_IF_ERROR(mount_kernel_filesystems(/*privileged=*/false));
  auto fd = open_path(stage_);
  if (!fd) return std::move(fd).error();
  masked_ = strings(protocol::kDefaultMaskedPaths);
  read_only_ = strings(protocol::kDefaultReadOnlyPaths);
  return cover_paths(RootDirectory(*std::move(fd)), masked_, read_only_);
}

base::Result<void> ContainerFilesystem::mount_kernel_filesystems(bool privileged) {
  const unsigned long flags = kNoExecution | (privileged ? 0 : MS_RDONLY);
  RETURN_IF_ERROR(mount_at("proc", stage_ + "/proc", "proc", kNoExecution));
  RETURN_IF_ERROR(mount_at("sysfs", stage_ + "/sys", "sysfs", flags));
  return mount_at("cgroup", stage_ + "/sys/fs/cgroup", "cgroup2", flags | MS_RELATIME);
}

base::Result<void> ContainerFilesystem::cover_paths(
    const RootDirectory& root, const std::vector<std::string>& masked,
    const std::vector<std::string>& read_only) const {
  for (const std::string& path : read_only) {
    const auto target = root.find(path);
    if (!target) continue;  // not there: nothing to protect
    if (auto done = protect(target->get()); !done)
      return annotate(std::move(done), "protect " + path);
  }
  for (const std::string& path : masked) {
    const auto target = root.find(path);
    if (!target) continue;
    if (auto done = mask(target->get()); !done) return annotate(std::move(done), "mask " + path);
  }
  return {};
}

base::Result<void> ContainerFilesystem::build(const protocol::PrepareContainer& spec,
                                              const ContainerDisks& disks,
                                              const std::string& machine_id) {
  RETURN_IF_ERROR(mount_root(disks));
  auto fd = open_path(stage_ + "/root");
  if (!fd) return std::move(fd).error();
  const RootDirectory root(*std::move(fd));
  RETURN_IF_ERROR(attach_kernel_filesystems(spec, root));
  RETURN_IF_ERROR(
      mounts_.open(disks.volumes, stage_ + "/volumes", socket_directory(), spec.mounts));
  RETURN_IF_ERROR(mount_all(spec, root));
  RETURN_IF_ERROR(mount_files(spec, root, machine_id));
  RETURN_IF_ERROR(cover_paths(root, missing(spec.masked_paths, masked_),
                              missing(spec.read_only_paths, read_only_)));
  if (spec.read_only_root) RETURN_IF_ERROR(make_read_only(root.get(), false));
  return enter_root();
}

base::Result<void> ContainerFilesystem::mount_layers(
    const std::vector<ContainerDisks::Layer>& layers) {
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const std::string directory = stage_ + "/layers/" + std::to_string(i);
    RETURN_IF_ERROR(make_directories(directory));
    RETURN_IF_ERROR(mount_at(layers[i].device, directory, "erofs", MS_RDONLY,
                             layers[i].in_memory ? "dax=always" : ""));
    auto layer = open_path(directory);
    if (!layer) return std::move(layer).error();
    layers_.push_back(*std::move(layer));
  }
  return {};
}

base::Result<void> ContainerFilesystem::mount_root(const ContainerDisks& disks) {
  RETURN_IF_ERROR(mount_layers(disks.layers));
  RETURN_IF_ERROR(mount_disk(disks.writable, stage_ + "/disk"));
  auto disk = open_path(stage_ + "/disk");
  if (!disk) return std::move(disk).error();
  disk_ = *std::move(disk);

  const std::string own = stage_ + "/disk/" + kOwnDirectory;
  is_new_ = access((own + "/upper").c_str(), F_OK) != 0;
  RETURN_IF_ERROR(make_directories(own + "/upper"));
  RETURN_IF_ERROR(make_directories(own + "/work"));
  auto upper = open_path(own + "/upper");
  if (!upper) return std::move(upper).error();
  upper_ = *std::move(upper);
  MountParameters parameters;
  for (std::size_t i = disks.layers.size(); i-- > 0;)
    parameters.emplace_back("lowerdir+", stage_ + "/layers/" + std::to_string(i));
  if (disks.layers.empty()) parameters.emplace_back("lowerdir+", stage_ + "/empty");
  parameters.emplace_back("source", "overlay");
  parameters.emplace_back("upperdir", own + "/upper");
  parameters.emplace_back("workdir", own + "/work");
  // As Docker mounts it: of a layer's file with several names, only the one that is written to
  // changes. (So that all changes are under their names in the upper directory: files/changes.h.)
  parameters.emplace_back("index", "off");
  auto overlay = new_mount("overlay", parameters, MOUNT_ATTR_RELATIME);
  if (!overlay) return std::move(overlay).error();
  auto target = open_path(stage_ + "/root");
  if (!target) return std::move(target).error();
  return move_mount_to(overlay->get(), target->get());
}

base::Result<void> ContainerFilesystem::attach_kernel_filesystems(
    const protocol::PrepareContainer& spec, const RootDirectory& root) {
  // The staged /proc and /sys have Docker's default paths covered. A container that wants fewer
  // paths covered gets new mounts.
  const bool as_staged = !spec.privileged && missing(masked_, spec.masked_paths).empty() &&
                         missing(read_only_, spec.read_only_paths).empty();
  if (!as_staged) {
    for (const char* name : {"/proc", "/sys"})
      if (umount2((stage_ + name).c_str(), MNT_DETACH) != 0)
        return base::errno_error("unmount " + std::string(name));
    masked_.clear();
    read_only_.clear();
    RETURN_IF_ERROR(mount_kernel_filesystems(spec.privileged));
  }
  if (spec.privileged) RETURN_IF_ERROR(add_all_devices("/dev", stage_ + "/dev"));
  RETURN_IF_ERROR(set_up_memory(spec));
  for (const char* name : {"/proc", "/sys", "/dev"}) {
    auto mount = open_path(stage_ + name);
    if (!mount) return std::move(mount).error();
    auto target = root.directory(name);
    if (!target) return std::move(target).error();
    if (auto moved = move_mount_to(mount->get(), target->get()); !moved)
      return annotate(std::move(moved), name);
  }
  return {};
}

base::Result<void> ContainerFilesystem::set_up_memory(const protocol::PrepareContainer& spec) {
  const std::string devices = stage_ + "/dev";
  if (shared_memory_) {
    RETURN_IF_ERROR(replace_shm(devices, shared_memory_.get()));
    shared_memory_.reset();
  } else if (spec.shm_bytes == 0) {
    return remove_shm(devices);
  } else if (spec.shm_bytes != shm_bytes_) {
    RETURN_IF_ERROR(resize_shm(devices, spec.shm_bytes));
  }
  auto memory = open_path(devices + "/shm");
  if (!memory) return std::move(memory).error();
  memory_ = *std::move(memory);
  return {};
}

base::Result<void> ContainerFilesystem::share_memory(const ContainerFilesystem& donor) {
  if (!donor.memory_) return {};  // what it has not cannot be shared
  auto copy = clone_mount(donor.memory_.get(), "");
  if (!copy) return annotate(std::move(copy), "share /dev/shm");
  shared_memory_ = *std::move(copy);
  return {};
}

/// Volumes, the host's files and tmpfs: a directory before what is below it, whichever it is.
base::Result<void> ContainerFilesystem::mount_all(const protocol::PrepareContainer& spec,
                                                  const RootDirectory& root) {
  std::vector<std::pair<std::string, std::function<base::Result<void>()>>> all;
  for (const ContainerMounts::Place& place : mounts_.places())
    all.emplace_back(place.path, [&] {
      const bool host = place.source == ContainerMounts::Source::kHost;
      auto mounted = mounts_.mount(place, root);
      if (mounted) return mounted;
      return base::Result<void>(
          annotate(std::move(mounted), (host ? "mount at " : "volume at ") + place.path));
    });
  for (const protocol::PrepareContainer::Tmpfs& tmpfs : spec.tmpfs)
    all.emplace_back(tmpfs.path, [&] {
      auto mounted = mount_tmpfs(tmpfs, root);
      if (mounted) return mounted;
      return base::Result<void>(annotate(std::move(mounted), "tmpfs at " + tmpfs.path));
    });
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& a, const auto& b) { return depth(a.first) < depth(b.first); });
  for (const auto& [path, mount] : all) RETURN_IF_ERROR(mount());
  return {};
}

base::Result<void> ContainerFilesystem::show_file(const std::string& directory,
                                                  const std::string& name,
                                                  const RootDirectory& root) const {
  const std::string place = "/etc/" + name;
  // What the client mounts there wins.
  if (std::ranges::find(mounts_.places(), place, &ContainerMounts::Place::path) !=
      mounts_.places().end())
    return {};
  return mount_file(directory + "/" + name, place, root);
}

base::Result<void> ContainerFilesystem::mount_network_files(const protocol::PrepareContainer& spec,
                                                            const RootDirectory& root) {
  if (!shared_network_files_) RETURN_IF_ERROR(own_network_files_.write(spec));
  for (const char* name : {"hostname", "hosts", "resolv.conf"})
    RETURN_IF_ERROR(show_file(network_files(), name, root));
  return {};
}

base::Result<void> ContainerFilesystem::mount_files(const protocol::PrepareContainer& spec,
                                                    const RootDirectory& root,
                                                    const std::string& machine_id) {
  RETURN_IF_ERROR(mount_network_files(spec, root));
  if (root.find("/etc/machine-id")) {
    RETURN_IF_ERROR(create_file(files_ + "/machine-id", machine_id + "\n"));
    RETURN_IF_ERROR(show_file(files_, "machine-id", root));
  }
  if (!is_new_) return {};  // what the container has removed since then stays removed
  // Programs look for this file to find out that they run in a Docker container.
  auto marker = root.file("/.dockerenv");
  if (!marker) return std::move(marker).error();
  auto etc = root.directory("/etc");
  if (!etc) return std::move(etc).error();
  if (symlinkat("/proc/mounts", etc->get(), "mtab") != 0 && errno != EEXIST)
    return base::errno_error("link /etc/mtab");
  return {};
}

base::Result<void> ContainerFilesystem::enter_root() const {
  // The old root ends on top of the new one and is taken away from there.
  if (chdir((stage_ + "/root").c_str()) != 0) return base::errno_error("enter the root filesystem");
  if (syscall(SYS_pivot_root, ".", ".") != 0) return base::errno_error("pivot_root");
  if (umount2(".", MNT_DETACH) != 0) return base::errno_error("detach the old root");
  if (chdir("/") != 0) return base::errno_error("chdir");
  return {};
}

base::Result<std::vector<base::UniqueFd>> ContainerFilesystem::directories() const {
  std::vector<base::UniqueFd> result;
  const auto add = [&](const base::UniqueFd& fd) {
    result.emplace_back(fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
    return static_cast<bool>(result.back());
  };
  bool added = add(upper_);
  for (std::size_t i = layers_.size(); added && i-- > 0;) added = add(layers_[i]);
  if (!added) return base::errno_error("duplicate a descriptor");
  return result;
}

base::Result<void> ContainerFilesystem::make_disks_clean() const {
  base::Result<void> clean;
  if (disk_) clean = make_disk_read_only(disk_.get());
  auto mounts = mounts_.make_clean();
  return clean ? mounts : clean;
}

}  // namespace guest_init
