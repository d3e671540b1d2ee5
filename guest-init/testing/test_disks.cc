#include "guest-init/testing/test_disks.h"

#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace guest_init::testing {
namespace {

constexpr std::uint64_t kAlignment = 2u << 20;

std::uint64_t aligned(std::uint64_t offset) {
  return (offset + kAlignment - 1) / kAlignment * kAlignment;
}

bool is_clean_file(const std::string& file) {
  // -n: changes nothing. A journal that would have to be replayed is not clean.
  return run_command("dumpe2fs -h " + file + " | grep -q 'Filesystem state: *clean'") &&
         run_command("! dumpe2fs -h " + file + " | grep -q needs_recovery") &&
         run_command("e2fsck -fn " + file);
}

void write_text(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

/// What an image has where a volume comes: a file with two names and a capability, a link, a
/// directory, all of it web's.
base::Result<void> make_volume_tree(const std::string& root) {
  std::filesystem::create_directories(root + "/sub");
  write_text(root + "/sub/tool", "tool\n");
  std::filesystem::create_hard_link(root + "/sub/tool", root + "/twin");
  std::filesystem::create_symlink("/etc/passwd", root + "/link");
  for (const char* name : {"", "/sub", "/sub/tool", "/link"})
    if (lchown((root + name).c_str(), 33, 34) != 0) return base::errno_error("chown");
  chmod((root + "/sub/tool").c_str(), 04751);
  chmod(root.c_str(), 01750);
  constexpr std::array<std::uint32_t, 5> kRaw = {VFS_CAP_REVISION_2, 1u << CAP_NET_RAW, 0, 0, 0};
  if (setxattr((root + "/sub/tool").c_str(), "security.capability", kRaw.data(), sizeof kRaw, 0) !=
      0)
    return base::errno_error("set a capability");
  return {};
}

/// A layer with busybox, accounts, and the odd files the tests execute.
base::Result<void> make_base_tree(const std::string& root) {
  for (const char* name : {"/bin", "/etc", "/tmp", "/srv/secret"})
    std::filesystem::create_directories(root + name);
  RETURN_IF_ERROR(run_command("cp /bin/busybox " + root + "/bin/busybox"));
  for (const char* applet :
       {"cat",   "dd",   "echo", "env",  "false", "grep", "head",  "hostname", "ln",
        "mkdir", "rm",   "id",   "ip",   "kill",  "ls",   "mknod", "mount",    "sh",
        "sleep", "stat", "stty", "tail", "touch", "true", "wc",    "yes"})
    std::filesystem::create_symlink("busybox", root + "/bin/" + applet);
  write_text(root + "/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n");
  write_text(root + "/etc/group", "root:x:0:\nweb:x:34:\nextra:x:50:web\nlate:x:60:\n");
  write_text(root + "/etc/machine-id", "");
  write_text(root + "/etc/plain", "not a program\n");
  write_text(root + "/bin/nonsense", "\x01\x02 no format\n");
  chmod((root + "/bin/nonsense").c_str(), 0755);
  chmod((root + "/srv/secret").c_str(), 0700);
  std::filesystem::create_symlink("../run/nowhere/resolv.conf", root + "/etc/resolv.conf");
  return make_volume_tree(root + "/srv/data");
}

/// Turns the tree at `root` into a layer of whole pages at `offset`, and removes the tree.
base::Result<TestDisks::Layer> make_layer(const std::string& root, const std::string& file,
                                          std::uint64_t offset) {
  constexpr std::uint64_t kPage = 4096;
  RETURN_IF_ERROR(run_command("mkfs.erofs " + file + " " + root));
  std::filesystem::remove_all(root);
  const std::uint64_t length = (std::filesystem::file_size(file) + kPage - 1) / kPage * kPage;
  std::filesystem::resize_file(file, length);
  return TestDisks::Layer{file, {offset, length}};
}

}  // namespace

base::Result<void> run_command(const std::string& command) {
  if (std::system(("{ " + command + "; } >/dev/null 2>&1").c_str()) != 0)
    return base::Error{base::Code::kInternal, "failed: " + command};
  return {};
}

std::vector<protocol::PrepareContainer::Layer> TestDisks::places() const {
  std::vector<protocol::PrepareContainer::Layer> result;
  for (const Layer& layer : layers) result.push_back(layer.place);
  return result;
}

std::vector<protocol::PrepareContainer::Disk> TestDisks::volume_places() const {
  std::vector<protocol::PrepareContainer::Disk> result;
  for (const Volume& volume : volumes) result.push_back(volume.place);
  return result;
}

void TestDisks::place_volumes(const std::vector<std::string>& files) {
  std::uint64_t used = further_place.offset + further_place.length;
  for (const std::string& file : files) {
    const std::uint64_t length = std::filesystem::file_size(file);
    volumes.push_back({file, {aligned(used), length}});
    used = aligned(used) + length;
  }
}

bool TestDisks::is_clean() const {
  return is_clean_file(writable) && is_clean_file(further) &&
         std::all_of(volumes.begin(), volumes.end(),
                     [](const Volume& volume) { return is_clean_file(volume.file); });
}

base::Result<TestDisks> make_test_disks(const std::string& directory) {
  const std::string root = directory + "/root";
  TestDisks disks;
  RETURN_IF_ERROR(make_base_tree(root));
  auto bottom = make_layer(root, directory + "/base.erofs", 0);
  if (!bottom) return std::move(bottom).error();
  std::filesystem::create_directories(root + "/etc");
  write_text(root + "/etc/upper-layer", "two\n");
  auto top = make_layer(root, directory + "/top.erofs", aligned(bottom->place.length));
  if (!top) return std::move(top).error();
  disks.layers = {*std::move(bottom), *std::move(top)};

  disks.writable = directory + "/writable";
  RETURN_IF_ERROR(make_test_volume(disks.writable));
  disks.writable_place = {.offset = 0, .length = std::filesystem::file_size(disks.writable)};
  disks.further = directory + "/further";
  RETURN_IF_ERROR(make_test_volume(disks.further));
  disks.further_place = {.offset = aligned(disks.writable_place.length),
                         .length = std::filesystem::file_size(disks.further)};
  return disks;
}

base::Result<void> make_test_volume(const std::string& file, const std::string& size) {
  RETURN_IF_ERROR(run_command("truncate -s " + size + " " + file));
  return run_command("mkfs.ext4 -q -F " + file);
}

}  // namespace guest_init::testing
