#include "guest-init/testing/test_disks.h"

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace guest_init::testing {
namespace {

void write_text(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

/// A layer with busybox, accounts, and the odd files the tests execute.
base::Result<void> make_base_tree(const std::string& root) {
  for (const char* name : {"/bin", "/etc", "/tmp", "/srv/secret"})
    std::filesystem::create_directories(root + name);
  RETURN_IF_ERROR(run_command("cp /bin/busybox " + root + "/bin/busybox"));
  for (const char* applet : {"cat",  "dd",   "echo", "env",   "false", "grep",  "head", "hostname",
                             "id",   "ip",   "kill", "ls",    "mknod", "mount", "sh",   "sleep",
                             "stat", "stty", "tail", "touch", "true",  "wc",    "yes"})
    std::filesystem::create_symlink("busybox", root + "/bin/" + applet);
  write_text(root + "/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n");
  write_text(root + "/etc/group", "root:x:0:\nweb:x:34:\nextra:x:50:web\nlate:x:60:\n");
  write_text(root + "/etc/machine-id", "");
  write_text(root + "/etc/plain", "not a program\n");
  write_text(root + "/bin/nonsense", "\x01\x02 no format\n");
  chmod((root + "/bin/nonsense").c_str(), 0755);
  chmod((root + "/srv/secret").c_str(), 0700);
  std::filesystem::create_symlink("../run/nowhere/resolv.conf", root + "/etc/resolv.conf");
  return {};
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

bool TestDisks::is_clean() const {
  // -n: changes nothing. A journal that would have to be replayed is not clean.
  return run_command("dumpe2fs -h " + writable + " | grep -q 'Filesystem state: *clean'") &&
         run_command("! dumpe2fs -h " + writable + " | grep -q needs_recovery") &&
         run_command("e2fsck -fn " + writable);
}

base::Result<TestDisks> make_test_disks(const std::string& directory) {
  constexpr std::uint64_t kAlignment = 2u << 20;
  const std::string root = directory + "/root";
  TestDisks disks;
  RETURN_IF_ERROR(make_base_tree(root));
  auto bottom = make_layer(root, directory + "/base.erofs", 0);
  if (!bottom) return std::move(bottom).error();
  std::filesystem::create_directories(root + "/etc");
  write_text(root + "/etc/upper-layer", "two\n");
  const std::uint64_t next = (bottom->place.length + kAlignment - 1) / kAlignment * kAlignment;
  auto top = make_layer(root, directory + "/top.erofs", next);
  if (!top) return std::move(top).error();
  disks.layers = {*std::move(bottom), *std::move(top)};

  disks.writable = directory + "/writable";
  RETURN_IF_ERROR(run_command("truncate -s 64M " + disks.writable));
  RETURN_IF_ERROR(run_command("mkfs.ext4 -q -F " + disks.writable));
  return disks;
}

}  // namespace guest_init::testing
