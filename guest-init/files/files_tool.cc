#include "guest-init/files/files_tool.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "guest-init/files/changes.h"
#include "guest-init/files/file_tree_reader.h"
#include "guest-init/files/file_tree_writer.h"
#include "guest-init/system/mounts.h"
#include "guest-init/system/text_files.h"
#include "guest-init/system/user.h"

namespace guest_init {

base::Result<wire::RawFrame> FilesChannel::receive() {
  std::array<std::byte, 64u << 10> piece;
  for (;;) {
    auto frame = reader_.next();
    if (!frame) return std::move(frame).error();
    if (frame->has_value()) return **std::move(frame);
    const ssize_t size = read(in_, piece.data(), piece.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return base::errno_error("read");
    if (size == 0) return base::Error{base::Code::kDataLoss, "the input ends in the middle"};
    reader_.feed(std::span(piece).first(static_cast<std::size_t>(size)));
  }
}

namespace {

namespace files = protocol::files;

/// In a mount namespace of its own, without /proc, /sys and /dev: nobody copies a kernel's files,
/// and a copy of "/" must end.
base::Result<void> hide_kernel_filesystems() {
  if (unshare(CLONE_NEWNS) != 0) return base::errno_error("unshare the mount namespace");
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return base::errno_error("make the mounts private");
  for (const char* path : {"/proc", "/sys", "/dev"})
    (void)umount2(path, MNT_DETACH);  // EINVAL: nothing is mounted there
  return {};
}

/// The container's own file system only, without anything that is mounted in it.
base::Result<void> enter_bare_root() {
  const base::UniqueFd root(open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!root) return base::errno_error("open_tree");
  if (fchdir(root.get()) != 0 || chroot(".") != 0) return base::errno_error("enter the root");
  return {};
}

/// Where a symbolic link leads in the end; a dangling one: what it says.
std::string target_of(const std::string& path) {
  std::array<char, 4096> resolved{};
  if (realpath(path.c_str(), resolved.data()) != nullptr) return resolved.data();
  const ssize_t size = readlink(path.c_str(), resolved.data(), resolved.size());
  if (size <= 0) return {};
  const std::string target(resolved.data(), static_cast<std::size_t>(size));
  if (target.starts_with('/')) return target;
  return path.substr(0, path.rfind('/') + 1) + target;
}

base::Result<files::Stat> stat_of(const std::string& path) {
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) {
    if (errno == ENOTDIR) errno = ENOENT;  // "file/x" is not there either
    return base::errno_error("stat " + path);
  }
  files::Stat result;
  result.size = static_cast<std::uint64_t>(status.st_size);
  result.mode = status.st_mode;
  result.modified_ns = status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec;
  if (S_ISLNK(status.st_mode)) result.link_target = target_of(path);
  return result;
}

/// What the archive calls it: the last component as it was asked for; "." for the directory itself.
std::string name_for(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const std::string name = path.substr(path.rfind('/') + 1);
  return name.empty() || name == ".." ? "." : name;
}

base::Result<void> send_stat(FilesChannel& channel, const std::string& path) {
  auto status = stat_of(path);
  if (!status) return std::move(status).error();
  return channel.send(*status);
}

base::Result<void> read_tree(FilesChannel& channel, const std::string& path) {
  RETURN_IF_ERROR(send_stat(channel, path));
  RETURN_IF_ERROR(FileTreeReader(channel).send(path, name_for(path)));
  return channel.send(files::End{});
}

base::Result<void> export_root(FilesChannel& channel) {
  RETURN_IF_ERROR(enter_bare_root());
  RETURN_IF_ERROR(FileTreeReader(channel).send_contents_of("/"));
  return channel.send(files::End{});
}

/// The descriptors that kFilesToolDirectories names.
base::Result<std::vector<base::UniqueFd>> inherited_directories() {
  std::vector<base::UniqueFd> directories;
  const char* text = getenv(kFilesToolDirectories);
  const std::string_view list = text == nullptr ? "" : text;
  for (std::size_t begin = 0; begin < list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    int fd = -1;
    std::from_chars(list.data() + begin, list.data() + end, fd);
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
      return base::errno_error("inherit descriptor " + std::to_string(fd) + " of the container");
    directories.emplace_back(fd);
    begin = end + 1;
  }
  if (directories.empty())
    return base::Error{base::Code::kInternal, "no directories of the container were inherited"};
  return directories;
}

/// Where volumes lie in the container, links followed, as its changes name it.
base::Result<std::vector<std::string>> places_of(std::span<char* const> volumes) {
  std::vector<std::string> places;
  for (const char* volume : volumes) {
    std::array<char, 4096> resolved{};
    if (realpath(volume, resolved.data()) == nullptr) continue;  // nothing of it can have changed
    places.emplace_back(resolved.data() + 1);
    if (places.back().empty())
      return base::Error{base::Code::kInvalidArgument, "a volume cannot be the root directory"};
  }
  return places;
}

base::Result<void> send_changes(FilesChannel& channel, ChangesAs form,
                                std::span<char* const> volumes = {}) {
  auto directories = inherited_directories();
  if (!directories) return std::move(directories).error();
  // Each level of a tree holds a descriptor per layer.
  const rlimit many{.rlim_cur = 1u << 19, .rlim_max = 1u << 19};
  (void)setrlimit(RLIMIT_NOFILE, &many);  // else a very deep tree is refused, later
  RETURN_IF_ERROR(enter_bare_root());
  auto places = places_of(volumes);
  if (!places) return std::move(places).error();
  base::UniqueFd upper = std::move(directories->front());
  directories->erase(directories->begin());
  RETURN_IF_ERROR(ContainerChanges(channel, form, *std::move(places))
                      .send("/", std::move(upper), *std::move(directories)));
  return channel.send(files::End{});
}

struct Owner {
  std::int64_t user = -1;  // -1: the entries' own
  std::int64_t group = -1;
};

base::Result<Owner> owner_from(std::string_view spec) {
  if (spec.empty()) return Owner{};
  constexpr std::size_t kLargestAccountFile = 4u << 20;
  const auto passwd = read_regular_file("/etc/passwd", kLargestAccountFile);
  const auto group = read_regular_file("/etc/group", kLargestAccountFile);
  const auto found =
      resolve_user(spec, {}, passwd ? *passwd : std::string(), group ? *group : std::string());
  // A missing name is what was asked for, not a missing file.
  if (!found) return base::Error{base::Code::kInvalidArgument, found.error().message};
  return Owner{.user = found->uid, .group = found->gid};
}

bool is_directory(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

/// Makes what is missing of a directory; what it makes belongs to `owner`.
base::Result<void> make_owned(const std::string& path, const Owner& owner) {
  if (is_directory(path)) return {};
  if (const std::size_t slash = path.rfind('/'); slash != 0 && slash != std::string::npos)
    RETURN_IF_ERROR(make_owned(path.substr(0, slash), owner));
  if (mkdir(path.c_str(), 0755) != 0) {
    if (errno != EEXIST) return base::errno_error("mkdir " + path);
    return base::Error{base::Code::kConflict, "Cannot mkdir: " + path + " is not a directory"};
  }
  const auto id = [](std::int64_t value) { return value < 0 ? 0u : static_cast<uid_t>(value); };
  if (chown(path.c_str(), id(owner.user), id(owner.group)) != 0)
    return base::errno_error("change the owner of " + path);
  return {};
}

/// `path` without slashes at its end.
std::string without_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

/// Where an absolute path leads, links followed also to what is not there yet.
base::Result<std::string> destination_of(const std::string& path) {
  constexpr int kMostLinks = 255;
  constexpr std::size_t kLongest = 16u << 10;
  std::string done;
  std::string rest = path;
  for (int links = 0; !rest.empty();) {
    rest.erase(0, rest.find_first_not_of('/'));
    const std::string part = rest.substr(0, rest.find('/'));
    rest.erase(0, part.size());
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      done.erase(done.empty() ? 0 : done.rfind('/'));
      continue;
    }
    std::array<char, 4096> target{};
    const std::string next = done + "/" + part;
    const ssize_t size = readlink(next.c_str(), target.data(), target.size());
    if (size <= 0) {
      done = next;
      continue;
    }
    if (++links > kMostLinks || rest.size() > kLongest)
      return base::Error{base::Code::kInvalidArgument, path + ": too many symbolic links"};
    const std::string link(target.data(), static_cast<std::size_t>(size));
    if (link.starts_with('/')) done.clear();
    rest = link + "/" + rest;
  }
  return done.empty() ? "/" : done;
}

/// Goes to where the entries of a place are to be written.
base::Result<void> enter_place(const files::Place& place, const Owner& owner) {
  std::string directory = without_slashes(place.path);
  if (place.kind == files::PlaceKind::kFile) {
    const bool into = place.path.ends_with('/') || is_directory(directory);
    if (!into) directory = without_slashes(directory.substr(0, directory.rfind('/') + 1));
    RETURN_IF_ERROR(make_owned(directory, owner));
  } else if (!is_directory(directory)) {
    // Directories above that are missing become root's, whoever owns the entries.
    const std::string above = without_slashes(directory.substr(0, directory.rfind('/') + 1));
    RETURN_IF_ERROR(make_owned(above, Owner{}));
    RETURN_IF_ERROR(make_owned(directory, owner));
  }
  if (chdir(directory.c_str()) != 0) return base::errno_error("enter " + directory);
  return {};
}

/// The name of a place's file in the directory that was entered.
std::string name_in(const files::Place& place) {
  const std::string path = without_slashes(place.path);
  if (place.path.ends_with('/') || is_directory(path)) return place.name;
  return path.substr(path.rfind('/') + 1);
}

/// In the classic builder's words.
base::Error unknown_owner(const std::string& spec) {
  const std::string user = spec.substr(0, spec.find(':'));
  const std::string group = spec.substr(std::min(user.size() + 1, spec.size()));
  const std::string why = user.empty() || !owner_from(user)
                              ? "can't find uid for user " + user + ": no such user: " + user
                              : "can't find gid for group " + group + ": no such group: " + group;
  return {base::Code::kInvalidArgument, files::kUnknownOwner + (" to host mapping: " + why)};
}

base::Result<void> take_places(FilesChannel& channel) {
  auto frame = channel.receive();
  while (frame && static_cast<files::FrameType>(frame->type) == files::FrameType::kPlace) {
    auto place = wire::decode<files::Place>(frame->payload);
    if (!place) return place.error();
    if (!place->path.starts_with('/') || place->path.find('\0') != std::string::npos)
      return base::Error{base::Code::kInvalidArgument, "the place is no absolute path"};
    auto destination = destination_of(place->path);
    if (!destination) return std::move(destination).error();
    const bool into = place->path.ends_with('/') && *destination != "/";
    place->path = *std::move(destination) + (into ? "/" : "");
    const auto owner = owner_from(place->owner);
    if (!owner || place->owner.starts_with(':')) return unknown_owner(place->owner);
    FileTreeWriter::Options options{
        .user = owner->user, .group = owner->group, .owner_comes_last = !place->owner.empty()};
    if (place->kind == files::PlaceKind::kFile) options.only_name = name_in(*place);
    RETURN_IF_ERROR(enter_place(*place, *owner));
    frame = FileTreeWriter(channel, options).run();
  }
  if (!frame) return std::move(frame).error();
  if (static_cast<files::FrameType>(frame->type) != files::FrameType::kEnd)
    return base::Error{base::Code::kDataLoss, "a frame that was not expected"};
  return {};
}

base::Result<void> write_tree(FilesChannel& channel, char** arguments) {
  if (chdir(arguments[0]) != 0 && errno == ENOTDIR)
    return base::Error{base::Code::kConflict, "extraction point is not a directory"};
  if (chdir(arguments[0]) != 0) return base::errno_error(arguments[0]);
  const auto owner = owner_from(arguments[2]);
  if (!owner) return owner.error();
  const FileTreeWriter::Options options{
      .keep_kind = std::strcmp(arguments[1], "1") == 0, .user = owner->user, .group = owner->group};
  umask(0);
  const auto end = FileTreeWriter(channel, options).run();
  if (!end) return end.error();
  if (static_cast<files::FrameType>(end->type) != files::FrameType::kEnd)
    return base::Error{base::Code::kDataLoss, "a frame that was not expected"};
  return channel.send(files::End{});
}

base::Result<void> build_layer(FilesChannel& channel) {
  umask(0);
  RETURN_IF_ERROR(take_places(channel));
  return send_changes(channel, ChangesAs::kLayer);
}

base::Result<void> carry_out(FilesChannel& channel, int argc, char** argv) {
  const std::string command = argc > 1 ? argv[1] : "";
  if (command == "export" && argc == 2) return export_root(channel);
  if (command == "changes" || command == "layer")
    return send_changes(channel, command == "layer" ? ChangesAs::kLayer : ChangesAs::kList,
                        std::span(argv + 2, static_cast<std::size_t>(argc - 2)));
  RETURN_IF_ERROR(hide_kernel_filesystems());
  if (command == "stat" && argc == 3) return send_stat(channel, argv[2]);
  if (command == "read" && argc == 3) return read_tree(channel, argv[2]);
  if (command == "build" && argc == 2) return build_layer(channel);
  if (command == "write" && argc == 5) return write_tree(channel, argv + 2);
  return base::Error{base::Code::kInternal, "no such command of the files tool"};
}

files::FailureKind kind_of(const base::Error& error) {
  switch (error.code) {
    case base::Code::kNotFound:
      return files::FailureKind::kNotFound;
    case base::Code::kConflict:
      return files::FailureKind::kNotADirectory;
    case base::Code::kInvalidArgument:
      return files::FailureKind::kRefused;
    default:
      return files::FailureKind::kOther;
  }
}

}  // namespace

int run_files_tool(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);  // a host that goes away is an error like any other
  FilesChannel channel(STDIN_FILENO, STDOUT_FILENO);
  const auto done = carry_out(channel, argc, argv);
  if (done) return 0;
  files::Failed failed;
  failed.kind = kind_of(done.error());
  failed.message = done.error().message;
  return channel.send(failed) ? 0 : 1;
}

}  // namespace guest_init
