#include "guest-init/files/file_tree_writer.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <algorithm>
#include <array>
#include <cstdio>

#include "guest-init/system/mounts.h"

namespace guest_init {
namespace {

namespace files = protocol::files;

/// Their times are remembered; of more, those first seen are set at once, as good as can be.
constexpr std::size_t kMostDirectories = 100'000;

std::array<timespec, 2> times(std::int64_t modified_ns) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  std::int64_t seconds = modified_ns / kSecond;
  std::int64_t rest = modified_ns % kSecond;
  if (rest < 0) {
    rest += kSecond;
    --seconds;
  }
  const timespec time{.tv_sec = seconds, .tv_nsec = rest};
  return {time, time};
}

void set_time(const std::string& path, std::int64_t modified_ns) {
  (void)utimensat(AT_FDCWD, path.c_str(), times(modified_ns).data(), AT_SYMLINK_NOFOLLOW);
}

int remove_one(const char* path, const struct stat*, int, FTW*) { return remove(path); }

base::Result<void> remove_all(const std::string& path) {
  constexpr int kDescriptors = 64;
  if (nftw(path.c_str(), &remove_one, kDescriptors, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0)
    return base::errno_error("remove " + path);
  return {};
}

base::Error refused(std::string message) {
  return base::Error{base::Code::kInvalidArgument, std::move(message)};
}

}  // namespace

base::Result<std::string> clean_relative_path(std::string_view path) {
  std::vector<std::string_view> parts;
  std::string_view rest = path;
  while (!rest.empty()) {
    const std::string_view part = rest.substr(0, rest.find('/'));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      parts.push_back(part);
      continue;
    }
    if (parts.empty())
      return refused("invalid path in archive: \"" + std::string(path.substr(0, 256)) +
                     "\" leads outside");
    parts.pop_back();
  }
  std::string clean;
  for (const std::string_view part : parts) {
    if (!clean.empty()) clean += '/';
    clean += part;
  }
  return clean.empty() ? "." : clean;
}

base::Result<wire::RawFrame> FileTreeWriter::run() {
  for (;;) {
    auto frame = channel_.receive();
    if (!frame) return std::move(frame).error();
    switch (static_cast<files::FrameType>(frame->type)) {
      case files::FrameType::kEnd:
      case files::FrameType::kPlace:
        for (const Directory& directory : directories_)
          set_time(directory.path, directory.modified_ns);
        return frame;
      case files::FrameType::kEntry: {
        const auto entry = wire::decode<files::Entry>(frame->payload);
        if (!entry) return entry.error();
        RETURN_IF_ERROR(write(*entry));
        break;
      }
      default:
        return base::Error{base::Code::kDataLoss, "a frame that was not expected"};
    }
  }
}

base::Result<void> FileTreeWriter::write(const files::Entry& entry) {
  auto path = clean_relative_path(options_.only_name.empty() ? entry.path : options_.only_name);
  if (!path) return std::move(path).error();
  if (const std::size_t slash = path->rfind('/'); slash != std::string::npos)
    RETURN_IF_ERROR(make_directories(path->substr(0, slash)));
  const bool is_directory = entry.kind == files::EntryKind::kDirectory;
  const auto needed = make_room(*path, is_directory);
  if (!needed) return needed.error();
  if (*path == ".") return {};  // the place itself keeps its owner and mode
  if (*needed) RETURN_IF_ERROR(make(*path, entry));
  if (entry.kind == files::EntryKind::kHardLink) return {};
  RETURN_IF_ERROR(set_owner_and_mode(*path, entry));
  if (is_directory && directories_.size() < kMostDirectories)
    directories_.push_back({*path, entry.modified_ns});
  else
    set_time(*path, entry.modified_ns);
  return {};
}

base::Result<bool> FileTreeWriter::make_room(const std::string& path, bool for_directory) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return true;
    return base::errno_error("stat " + path);
  }
  const bool is_directory = S_ISDIR(status.st_mode);
  if (options_.keep_kind && is_directory && !for_directory)
    return refused("cannot overwrite directory \"" + path + "\" with non-directory");
  if (options_.keep_kind && !is_directory && for_directory)
    return refused("cannot overwrite non-directory \"" + path + "\" with directory");
  if (is_directory && for_directory) return false;
  if (path == ".") return refused("cannot overwrite directory \".\" with non-directory");
  RETURN_IF_ERROR(remove_all(path));
  return true;
}

base::Result<void> FileTreeWriter::make(const std::string& path, const files::Entry& entry) {
  const dev_t device = makedev(entry.device_major, entry.device_minor);
  int made = 0;
  switch (entry.kind) {
    case files::EntryKind::kFile:
      return make_file(path, entry);
    case files::EntryKind::kDirectory:
      made = mkdir(path.c_str(), 0700);
      break;
    case files::EntryKind::kSymbolicLink:
      made = symlink(entry.link.c_str(), path.c_str());
      break;
    case files::EntryKind::kHardLink: {
      const auto target = clean_relative_path(entry.link);
      if (!target) return target.error();
      made = linkat(AT_FDCWD, target->c_str(), AT_FDCWD, path.c_str(), 0);
      break;
    }
    case files::EntryKind::kCharacterDevice:
      made = mknod(path.c_str(), S_IFCHR | 0600, device);
      break;
    case files::EntryKind::kBlockDevice:
      made = mknod(path.c_str(), S_IFBLK | 0600, device);
      break;
    case files::EntryKind::kFifo:
      made = mkfifo(path.c_str(), 0600);
      break;
    default:
      return refused(path + ": an entry of an unknown kind");
  }
  if (made != 0) return base::errno_error("create " + path);
  return {};
}

base::Result<void> FileTreeWriter::make_file(const std::string& path, const files::Entry& entry) {
  const base::UniqueFd fd(
      open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return base::errno_error("create " + path);
  return take_contents(fd.get(), path, entry.size);
}

base::Result<void> FileTreeWriter::take_contents(int fd, const std::string& path,
                                                 std::uint64_t size) {
  while (size > 0) {
    auto frame = channel_.receive();
    if (!frame) return std::move(frame).error();
    if (static_cast<files::FrameType>(frame->type) != files::FrameType::kData)
      return base::Error{base::Code::kDataLoss, "a file's contents end too early"};
    const auto data = wire::decode<files::Data>(frame->payload);
    if (!data) return data.error();
    if (data->bytes.empty() || data->bytes.size() > size)
      return base::Error{base::Code::kDataLoss, "a file's contents do not have its size"};
    const auto* bytes = reinterpret_cast<const char*>(data->bytes.data());
    if (auto written = write_all(fd, {bytes, data->bytes.size()}); !written)
      return annotate(std::move(written), path);
    size -= data->bytes.size();
  }
  return {};
}

base::Result<void> FileTreeWriter::set_owner_and_mode(const std::string& path,
                                                      const files::Entry& entry) {
  const auto user = options_.user < 0 ? entry.user : static_cast<uid_t>(options_.user);
  const auto group = options_.group < 0 ? entry.group : static_cast<gid_t>(options_.group);
  if (fchownat(AT_FDCWD, path.c_str(), user, group, AT_SYMLINK_NOFOLLOW) != 0)
    return base::errno_error("change the owner of " + path);
  // After the owner: changing that takes setuid bits and capabilities away.
  if (entry.kind != files::EntryKind::kSymbolicLink && chmod(path.c_str(), entry.mode & 07777) != 0)
    return base::errno_error("change the mode of " + path);
  for (const files::ExtendedAttribute& attribute : entry.attributes)
    if (lsetxattr(path.c_str(), attribute.name.c_str(), attribute.value.data(),
                  attribute.value.size(), 0) != 0 &&
        errno != ENOTSUP)
      return base::errno_error("set " + attribute.name + " of " + path);
  if (options_.owner_comes_last &&
      fchownat(AT_FDCWD, path.c_str(), user, group, AT_SYMLINK_NOFOLLOW) != 0)
    return base::errno_error("change the owner of " + path);
  return {};
}

}  // namespace guest_init
