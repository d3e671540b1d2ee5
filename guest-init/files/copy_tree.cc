#include "guest-init/files/copy_tree.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <vector>

#include "guest-init/files/directory_listing.h"
#include "guest-init/files/file_metadata.h"
#include "guest-init/system/text_files.h"

namespace guest_init {
namespace {

/// Each level holds two descriptors and a buffer of names.
constexpr std::size_t kDeepest = 1'000;
constexpr std::size_t kCopyBytes = 256u << 10;
constexpr int kOpenDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

std::array<timespec, 2> times_of(const struct stat& status) {
  return {status.st_atim, status.st_mtim};
}

class TreeCopy {
 public:
  /// `links`: a name in `parent` for a directory in which every file that has several names in the
  /// tree has one more, made of its number, until all are copied.
  TreeCopy(int parent, std::string links) : parent_(parent), links_name_(std::move(links)) {}

  base::Result<CopiedTree> copy(int from, const std::string& name);

 private:
  struct Level {
    DirectoryListing from;
    base::UniqueFd to;
    struct stat status {};  // what `to` gets in the end
  };

  base::Result<void> enter(int from, int to, const std::string& name, const struct stat& status);
  base::Result<void> leave();
  base::Result<void> copy_entry(int from, int to, const std::string& name);
  base::Result<bool> link_to_copied(int to, const std::string& name, const std::string& link);
  base::Result<void> copy_file(int from, int to, const std::string& name,
                               const struct stat& status);
  base::Result<void> copy_contents(int from, int to, off_t size);
  base::Result<void> copy_range(int from, int to, off_t at, off_t end);
  base::Result<void> copy_special(int from, int to, const std::string& name,
                                  const struct stat& status);

  const int parent_;
  const std::string links_name_;
  base::UniqueFd links_;  // once there is a file with several names
  dev_t device_ = 0;      // of the directories
  std::vector<Level> levels_;
  std::vector<char> buffer_;
  bool has_contents_ = false;
};

/// Owner first: changing it takes setuid bits and capabilities away. Times last.
base::Result<void> describe_as(int from, int to, const struct stat& status) {
  if (fchown(to, status.st_uid, status.st_gid) != 0) return base::errno_error("change the owner");
  if (fchmod(to, status.st_mode & 07777) != 0) return base::errno_error("change the mode");
  for (const auto& attribute : kept_attributes(from))
    if (fsetxattr(to, attribute.name.c_str(), attribute.value.data(), attribute.value.size(), 0) !=
            0 &&
        errno != ENOTSUP)
      return base::errno_error("set " + attribute.name);
  if (futimens(to, times_of(status).data()) != 0) return base::errno_error("set the times");
  return {};
}

base::Result<CopiedTree> TreeCopy::copy(int from, const std::string& name) {
  struct stat status {};
  if (fstat(from, &status) != 0) return base::errno_error("stat");
  device_ = status.st_dev;
  if (mkdirat(parent_, name.c_str(), 0700) != 0) return base::errno_error("create " + name);
  base::UniqueFd root(openat(parent_, name.c_str(), kOpenDirectory));
  if (!root) return base::errno_error("open " + name);
  RETURN_IF_ERROR(enter(from, root.get(), ".", status));
  while (!levels_.empty()) {
    const auto entry = levels_.back().from.next();
    if (!entry) return entry.error();
    if (!*entry) {
      RETURN_IF_ERROR(leave());
      continue;
    }
    auto copied = copy_entry(levels_.back().from.get(), levels_.back().to.get(), **entry);
    if (!copied) return annotate(std::move(copied), **entry);
  }
  if (links_) RETURN_IF_ERROR(remove_tree(parent_, links_name_));
  return CopiedTree{.root = std::move(root), .has_contents = has_contents_};
}

/// The directory `name`, which is in both.
base::Result<void> TreeCopy::enter(int from, int to, const std::string& name,
                                   const struct stat& status) {
  if (levels_.size() == kDeepest)
    return base::Error{base::Code::kResourceExhausted, "nested too deeply"};
  auto listing = DirectoryListing::open(from, name);
  if (!listing) return std::move(listing).error();
  base::UniqueFd made(openat(to, name.c_str(), kOpenDirectory));
  if (!made) return base::errno_error("open the copy");
  levels_.push_back({.from = *std::move(listing), .to = std::move(made), .status = status});
  return {};
}

/// What is in a directory comes before what it is: a default access list would be inherited.
base::Result<void> TreeCopy::leave() {
  const Level& level = levels_.back();
  RETURN_IF_ERROR(describe_as(level.from.get(), level.to.get(), level.status));
  levels_.pop_back();
  return {};
}

base::Result<void> TreeCopy::copy_entry(int from, int to, const std::string& name) {
  struct stat status {};
  if (fstatat(from, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
    return base::errno_error("stat");
  if (S_ISSOCK(status.st_mode)) return {};
  if (S_ISDIR(status.st_mode)) {
    if (status.st_dev != device_) return {};  // something is mounted there
    if (mkdirat(to, name.c_str(), 0700) != 0) return base::errno_error("create");
    return enter(from, to, name, status);
  }
  std::string link;
  if (status.st_nlink > 1) {
    link = std::to_string(status.st_dev) + "-" + std::to_string(status.st_ino);
    const auto linked = link_to_copied(to, name, link);
    if (!linked) return linked.error();
    if (*linked) return {};
  }
  RETURN_IF_ERROR(S_ISREG(status.st_mode) ? copy_file(from, to, name, status)
                                          : copy_special(from, to, name, status));
  if (!link.empty() && linkat(to, name.c_str(), links_.get(), link.c_str(), 0) != 0)
    return base::errno_error("link");
  return {};
}

/// Whether the file was copied already, under another name.
base::Result<bool> TreeCopy::link_to_copied(int to, const std::string& name,
                                            const std::string& link) {
  if (!links_) {
    if (mkdirat(parent_, links_name_.c_str(), 0700) != 0) return base::errno_error("create");
    links_.reset(openat(parent_, links_name_.c_str(), kOpenDirectory));
    if (!links_) return base::errno_error("open " + links_name_);
  }
  if (linkat(links_.get(), link.c_str(), to, name.c_str(), 0) == 0) return true;
  if (errno != ENOENT) return base::errno_error("link");
  return false;
}

base::Result<void> TreeCopy::copy_file(int from, int to, const std::string& name,
                                       const struct stat& status) {
  const base::UniqueFd source(
      openat(from, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!source) return base::errno_error("open");
  const base::UniqueFd copy(
      openat(to, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!copy) return base::errno_error("create");
  RETURN_IF_ERROR(copy_contents(source.get(), copy.get(), status.st_size));
  return describe_as(source.get(), copy.get(), status);
}

base::Result<void> TreeCopy::copy_contents(int from, int to, off_t size) {
  if (size > 0) has_contents_ = true;
  for (off_t at = 0; at < size;) {
    const off_t data = lseek(from, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // only a hole is left
    const off_t hole = data < 0 ? -1 : lseek(from, data, SEEK_HOLE);
    // A file system that does not know of holes has none.
    const off_t begin = hole < 0 ? at : data;
    const off_t end = hole < 0 ? size : std::min(hole, size);
    RETURN_IF_ERROR(copy_range(from, to, begin, end));
    at = end;
  }
  if (ftruncate(to, size) != 0) return base::errno_error("set the size");
  return {};
}

base::Result<void> TreeCopy::copy_range(int from, int to, off_t at, off_t end) {
  buffer_.resize(kCopyBytes);
  if (lseek(to, at, SEEK_SET) < 0) return base::errno_error("seek");
  while (at < end) {
    const auto size = std::min(buffer_.size(), static_cast<std::size_t>(end - at));
    const ssize_t got = pread(from, buffer_.data(), size, at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return base::errno_error("read");
    if (got == 0) return {};
    RETURN_IF_ERROR(write_all(to, {buffer_.data(), static_cast<std::size_t>(got)}));
    at += got;
  }
  return {};
}

/// Symbolic links, FIFOs and devices. Nothing is opened: that could have effects.
base::Result<void> TreeCopy::copy_special(int from, int to, const std::string& name,
                                          const struct stat& status) {
  const bool is_link = S_ISLNK(status.st_mode);
  const int made =
      is_link ? symlinkat(link_target(from, name).c_str(), to, name.c_str())
              : mknodat(to, name.c_str(), (status.st_mode & S_IFMT) | 0600, status.st_rdev);
  if (made != 0) return base::errno_error("create");
  if (fchownat(to, name.c_str(), status.st_uid, status.st_gid, AT_SYMLINK_NOFOLLOW) != 0)
    return base::errno_error("change the owner");
  if (!is_link && fchmodat(to, name.c_str(), status.st_mode & 07777, AT_SYMLINK_NOFOLLOW) != 0)
    return base::errno_error("change the mode");
  if (utimensat(to, name.c_str(), times_of(status).data(), AT_SYMLINK_NOFOLLOW) != 0)
    return base::errno_error("set the times");
  return {};
}

/// Whether there is nothing in it but copies that are being made, or were left.
base::Result<bool> holds_nothing(int directory) {
  auto listing = DirectoryListing::open(directory);
  if (!listing) return std::move(listing).error();
  for (;;) {
    const auto entry = listing->next();
    if (!entry) return entry.error();
    if (!*entry) return true;
    if (!(*entry)->starts_with(kFillingPrefix)) return false;
  }
}

base::Result<std::string> filling_name() {
  std::uint64_t number = 0;
  if (getrandom(&number, sizeof number, 0) != sizeof number) return base::errno_error("getrandom");
  std::array<char, 17> digits{};
  std::snprintf(digits.data(), digits.size(), "%016llx", static_cast<unsigned long long>(number));
  return std::string(kFillingPrefix) + digits.data();
}

base::Result<std::vector<std::string>> names_in(int directory) {
  auto listing = DirectoryListing::open(directory);
  if (!listing) return std::move(listing).error();
  std::vector<std::string> names;
  for (;;) {
    auto entry = listing->next();
    if (!entry) return std::move(entry).error();
    if (!*entry) return names;
    names.push_back(*std::move(*entry));
  }
}

/// Makes `to` what `copy`, which is in it, is. What is there by now stays.
base::Result<void> move_up(int copy, int to) {
  struct stat status {};
  if (fstat(copy, &status) != 0) return base::errno_error("stat");
  const auto names = names_in(copy);
  if (!names) return names.error();
  for (const std::string& name : *names)
    if (renameat2(copy, name.c_str(), to, name.c_str(), RENAME_NOREPLACE) != 0 && errno != EEXIST)
      return base::errno_error("move " + name);
  return describe_as(copy, to, status);
}

/// Takes away all of `directory` that is no directory. Directories move up into `top`, under a
/// number: so two descriptors reach any depth. Whether there were any: it is not empty, then.
base::Result<bool> flatten(int directory, int top, std::uint64_t& number) {
  auto listing = DirectoryListing::open(directory);
  if (!listing) return std::move(listing).error();
  for (bool left = false;;) {
    const auto entry = listing->next();
    if (!entry) return entry.error();
    if (!*entry) return left;
    const char* name = (*entry)->c_str();
    if (unlinkat(directory, name, 0) == 0) continue;
    if (errno != EISDIR) return base::errno_error("remove " + **entry);
    left = true;
    if (directory == top) continue;
    int moved = -1;
    do {
      moved = renameat2(directory, name, top, std::to_string(number++).c_str(), RENAME_NOREPLACE);
    } while (moved != 0 && errno == EEXIST);
    if (moved != 0) return base::errno_error("move " + **entry);
  }
}

/// One pass over the directories in `top`.
base::Result<void> remove_directories(int top, std::uint64_t& number) {
  auto listing = DirectoryListing::open(top);
  if (!listing) return std::move(listing).error();
  for (;;) {
    const auto entry = listing->next();
    if (!entry) return entry.error();
    if (!*entry) return {};
    const std::string& name = **entry;
    const base::UniqueFd directory(openat(top, name.c_str(), kOpenDirectory));
    if (!directory) return base::errno_error("open " + name);
    if (const auto left = flatten(directory.get(), top, number); !left) return left.error();
    if (unlinkat(top, name.c_str(), AT_REMOVEDIR) != 0) return base::errno_error("remove " + name);
  }
}

}  // namespace

base::Result<CopiedTree> copy_tree(int from, int parent, const std::string& name) {
  const std::string links = name + ".links";
  for (const std::string& left_over : {name, links})
    RETURN_IF_ERROR(remove_tree(parent, left_over));
  auto copied = TreeCopy(parent, links).copy(from, name);
  if (!copied)  // gives the room back; what cannot be removed is at the next attempt
    for (const std::string& part : {name, links}) (void)remove_tree(parent, part).has_value();
  return copied;
}

base::Result<void> fill_directory(int from, int to) {
  const base::UniqueFd directory(openat(to, ".", kOpenDirectory));
  if (!directory) return base::errno_error("open the directory");
  const auto empty = holds_nothing(directory.get());
  if (!empty) return empty.error();
  if (!*empty) return {};
  const auto name = filling_name();
  if (!name) return name.error();
  auto copied = copy_tree(from, directory.get(), *name);
  if (!copied) return std::move(copied).error();
  base::Result<void> filled;
  if (copied->has_contents && syncfs(directory.get()) != 0)
    filled = base::errno_error("write the directory back");
  if (filled) filled = move_up(copied->root.get(), directory.get());
  // Nothing in it is left, or what another machine's copy had the place of.
  auto removed = remove_tree(directory.get(), *name);
  return filled ? std::move(removed) : filled;
}

base::Result<void> remove_tree(int parent, const std::string& name) {
  if (unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR) return base::errno_error("remove " + name);
  const base::UniqueFd top(openat(parent, name.c_str(), kOpenDirectory));
  if (!top) return base::errno_error("open " + name);
  for (std::uint64_t number = 0;;) {
    const auto left = flatten(top.get(), top.get(), number);
    if (!left) return left.error();
    if (!*left) break;
    RETURN_IF_ERROR(remove_directories(top.get(), number));
  }
  if (unlinkat(parent, name.c_str(), AT_REMOVEDIR) != 0) return base::errno_error("remove " + name);
  return {};
}

}  // namespace guest_init
