#include "api/engine/volumes/file_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>

#include "vmm/base/unique_fd.h"

namespace engine {

namespace {

using base::Result;
using base::UniqueFd;

constexpr int kMostLevels = 64;
constexpr std::uint64_t kMostFiles = 1'000'000;

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

Directory list(UniqueFd fd) {
  Directory directory(::fdopendir(fd.get()));
  if (directory) fd.release();
  return directory;
}

UniqueFd open_directory(int parent, const char* name) {
  return UniqueFd(::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

bool is_itself_or_parent(std::string_view name) { return name == "." || name == ".."; }

/// Empties `top`: what is in its directories moves up, so that nothing is ever deep.
class Emptying {
 public:
  explicit Emptying(int top) : top_(top) {}

  Result<void> run() {
    for (bool changed = true; changed;) {
      changed = false;
      const Directory all = list(open_directory(top_, "."));
      if (!all) return base::errno_error("list");
      while (const dirent* const entry = ::readdir(all.get())) {
        if (is_itself_or_parent(entry->d_name)) continue;
        RETURN_IF_ERROR(remove(entry->d_name));
        changed = true;
      }
    }
    return {};
  }

 private:
  Result<void> remove(const char* name) {
    if (::unlinkat(top_, name, 0) == 0 || errno == ENOENT) return {};
    if (errno != EISDIR && errno != EPERM) return base::errno_error("unlink");
    if (::unlinkat(top_, name, AT_REMOVEDIR) == 0) return {};
    if (errno != ENOTEMPTY && errno != EEXIST) return base::errno_error("rmdir");
    return take_apart(name);
  }

  Result<void> take_apart(const char* name) {
    const Directory all = list(open_directory(top_, name));
    if (!all) return base::errno_error("list");
    const int from = ::dirfd(all.get());
    while (const dirent* const entry = ::readdir(all.get())) {
      if (is_itself_or_parent(entry->d_name)) continue;
      if (::unlinkat(from, entry->d_name, 0) == 0) continue;
      if (::unlinkat(from, entry->d_name, AT_REMOVEDIR) == 0) continue;
      RETURN_IF_ERROR(move_up(from, entry->d_name));
    }
    if (::unlinkat(top_, name, AT_REMOVEDIR) != 0 && errno != ENOTEMPTY && errno != EEXIST)
      return base::errno_error("rmdir");
    return {};
  }

  /// Under a name that is free, which may take as many attempts as there are files.
  Result<void> move_up(int from, const char* name) {
    for (;;) {
      const std::string aside = ".removed-" + std::to_string(moved_++);
      if (::renameat2(from, name, top_, aside.c_str(), RENAME_NOREPLACE) == 0) return {};
      if (errno != EEXIST) return base::errno_error("rename");
    }
  }

  int top_;
  std::uint64_t moved_ = 0;
};

void add_up(int parent, const char* name, int levels, std::uint64_t& files, std::uint64_t& blocks) {
  const Directory all = list(open_directory(parent, name));
  if (!all) return;
  while (const dirent* const entry = ::readdir(all.get())) {
    struct stat status {};
    if (is_itself_or_parent(entry->d_name)) continue;
    if (++files > kMostFiles) return;
    if (::fstatat(::dirfd(all.get()), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    blocks += static_cast<std::uint64_t>(status.st_blocks);
    if (S_ISDIR(status.st_mode) && levels > 0)
      add_up(::dirfd(all.get()), entry->d_name, levels - 1, files, blocks);
  }
}

}  // namespace

Result<void> remove_tree(const std::filesystem::path& path) {
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return {};
  const UniqueFd top = open_directory(AT_FDCWD, path.c_str());
  Result<void> removed;
  if (!top) removed = base::errno_error("open");
  if (removed) removed = Emptying(top.get()).run();
  if (removed && ::rmdir(path.c_str()) != 0) removed = base::errno_error("rmdir");
  if (removed) return {};
  return base::annotate(std::move(removed).error(), "remove " + path.string());
}

std::uint64_t bytes_of_tree(const std::filesystem::path& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return 0;
  std::uint64_t blocks = static_cast<std::uint64_t>(status.st_blocks);
  std::uint64_t files = 0;
  if (S_ISDIR(status.st_mode)) add_up(AT_FDCWD, path.c_str(), kMostLevels, files, blocks);
  return blocks * 512;
}

}  // namespace engine
