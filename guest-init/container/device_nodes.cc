#include "guest-init/container/device_nodes.h"

#include <dirent.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <memory>

#include "guest-init/system/mounts.h"

namespace guest_init {
namespace {

struct Node {
  const char* name;
  unsigned major;
  unsigned minor;
};
constexpr Node kNodes[] = {{"null", 1, 3},   {"zero", 1, 5},    {"full", 1, 7},
                           {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};

struct Link {
  const char* name;
  const char* target;
};
constexpr Link kLinks[] = {{"ptmx", "pts/ptmx"},          {"fd", "/proc/self/fd"},
                           {"stdin", "/proc/self/fd/0"},  {"stdout", "/proc/self/fd/1"},
                           {"stderr", "/proc/self/fd/2"}, {"core", "/proc/kcore"}};

struct Submount {
  const char* name;
  const char* type;
  unsigned long flags;
  const char* data;
};
constexpr unsigned long kNoExecution = MS_NOSUID | MS_NODEV | MS_NOEXEC;
constexpr Submount kSubmounts[] = {
    {"pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"},
    {"mqueue", "mqueue", kNoExecution, ""},
};

std::string shm_options(std::uint64_t bytes) { return "mode=1777,size=" + std::to_string(bytes); }

base::Result<void> make_directory(const std::string& path) {
  if (mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return base::errno_error("create " + path);
  return {};
}

}  // namespace

base::Result<void> make_device_directory(const std::string& path, std::uint64_t shm_bytes) {
  RETURN_IF_ERROR(
      mount_at("tmpfs", path, "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=64m"));
  for (const Node& node : kNodes)
    if (mknod((path + "/" + node.name).c_str(), S_IFCHR | 0666, makedev(node.major, node.minor)))
      return base::errno_error("create /dev/" + std::string(node.name));
  for (const Link& link : kLinks)
    if (symlink(link.target, (path + "/" + link.name).c_str()) != 0)
      return base::errno_error("link /dev/" + std::string(link.name));
  for (const Submount& submount : kSubmounts) {
    RETURN_IF_ERROR(make_directory(path + "/" + submount.name));
    RETURN_IF_ERROR(mount_at(submount.type, path + "/" + submount.name, submount.type,
                             submount.flags, submount.data));
  }
  RETURN_IF_ERROR(make_directory(path + "/shm"));
  return mount_at("shm", path + "/shm", "tmpfs", kNoExecution, shm_options(shm_bytes));
}

base::Result<void> resize_shm(const std::string& path, std::uint64_t shm_bytes) {
  return mount_at("shm", path + "/shm", nullptr, MS_REMOUNT | kNoExecution, shm_options(shm_bytes));
}

base::Result<void> remove_shm(const std::string& path) {
  const std::string shm = path + "/shm";
  if (umount2(shm.c_str(), MNT_DETACH) != 0) return base::errno_error("unmount " + shm);
  if (rmdir(shm.c_str()) != 0) return base::errno_error("remove " + shm);
  return {};
}

base::Result<void> replace_shm(const std::string& path, int mount) {
  const std::string shm = path + "/shm";
  if (umount2(shm.c_str(), MNT_DETACH) != 0) return base::errno_error("unmount " + shm);
  auto target = open_path(shm);
  if (!target) return std::move(target).error();
  return move_mount_to(mount, target->get());
}

base::Result<void> add_all_devices(const std::string& from, const std::string& path) {
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir(from.c_str()), &closedir);
  if (!directory) return base::errno_error("open " + from);
  while (const dirent* entry = readdir(directory.get())) {
    const std::string name = entry->d_name;
    const std::string source = from + "/" + name;
    const std::string target = path + "/" + name;
    struct stat status {};
    if (name == "." || name == ".." || lstat(source.c_str(), &status) != 0) continue;
    if (S_ISDIR(status.st_mode)) {
      if (name == "pts" || name == "shm" || name == "mqueue") continue;
      RETURN_IF_ERROR(make_directory(target));
      RETURN_IF_ERROR(add_all_devices(source, target));
    } else if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) {
      if (name == "console" || name == "ptmx") continue;
      if (mknod(target.c_str(), status.st_mode, status.st_rdev) != 0 && errno != EEXIST)
        return base::errno_error("create " + target);
    }
  }
  return {};
}

}  // namespace guest_init
