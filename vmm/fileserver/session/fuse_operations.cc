#include "vmm/fileserver/session/fuse_operations.h"

#define FUSE_USE_VERSION 312
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <sys/file.h>

#include <cstring>
#include <functional>
#include <span>
#include <utility>

#include "vmm/fileserver/files/limits.h"

namespace fileserver {
namespace {

FileSystem& files_of(fuse_req_t request) {
  return static_cast<OperationContext*>(::fuse_req_userdata(request))->files;
}

Caller caller_of(fuse_req_t request) {
  const fuse_ctx& context = *::fuse_req_ctx(request);
  return {context.uid, context.gid, context.umask};
}

std::optional<HandleId> handle_of(const fuse_file_info* file) {
  if (file == nullptr) return std::nullopt;
  return file->fh;
}

// --- answers

void reply(fuse_req_t request, const Answer<void>& answer) {
  ::fuse_reply_err(request, answer.error().value);
}

void reply_error(fuse_req_t request, Errno error) { ::fuse_reply_err(request, error.value); }

fuse_entry_param entry_of(const Entry& entry) {
  fuse_entry_param parameters{};
  parameters.ino = entry.node;
  parameters.attr = entry.attributes.values;
  parameters.attr_timeout = entry.attributes.timeout;
  parameters.entry_timeout = entry.timeout;
  return parameters;
}

fuse_file_info file_of(const Opened& opened) {
  fuse_file_info file{};
  file.fh = opened.handle;
  file.keep_cache = opened.keep_cache ? 1 : 0;
  return file;
}

void reply(fuse_req_t request, Answer<Entry> answer) {
  if (!answer) return reply_error(request, answer.error());
  const fuse_entry_param parameters = entry_of(*answer);
  ::fuse_reply_entry(request, &parameters);
}

void reply(fuse_req_t request, Answer<Attributes> answer) {
  if (!answer) return reply_error(request, answer.error());
  ::fuse_reply_attr(request, &answer->values, answer->timeout);
}

void reply(fuse_req_t request, Answer<Opened> answer) {
  if (!answer) return reply_error(request, answer.error());
  const fuse_file_info file = file_of(*answer);
  ::fuse_reply_open(request, &file);
}

void reply(fuse_req_t request, Answer<Created> answer) {
  if (!answer) return reply_error(request, answer.error());
  const fuse_entry_param parameters = entry_of(answer->entry);
  const fuse_file_info file = file_of(answer->opened);
  ::fuse_reply_create(request, &parameters, &file);
}

/// How many bytes were written or copied.
void reply_count(fuse_req_t request, Answer<std::size_t> answer) {
  if (!answer) return reply_error(request, answer.error());
  ::fuse_reply_write(request, *answer);
}

/// An extended attribute or the list of them: its length, if the guest offers no room.
void reply_attribute(fuse_req_t request, Answer<std::string> answer, std::size_t size) {
  if (!answer) return reply_error(request, answer.error());
  if (size == 0)
    ::fuse_reply_xattr(request, answer->size());
  else
    ::fuse_reply_buf(request, answer->data(), answer->size());
}

// --- the session

void init(void* /*context*/, fuse_conn_info* connection) {
  // Not HANDLE_KILLPRIV: the guest's kernel takes set-user-ID bits off at writes. Not
  // WRITEBACK_CACHE: what a guest has written is the host's at once. DONT_MASK: the host applies
  // the caller's umask, unless a directory's default ACL takes its place.
  connection->want = FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_ATOMIC_O_TRUNC |
                     FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_DONT_MASK | FUSE_CAP_FLOCK_LOCKS |
                     FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_POSIX_ACL | FUSE_CAP_POSIX_LOCKS |
                     FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO;
  connection->want &= connection->capable;
  connection->max_write = kMostData;
}

// --- names

void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  reply(request, files_of(request).look_up(parent, name));
}

void forget(fuse_req_t request, fuse_ino_t node, std::uint64_t lookups) {
  files_of(request).forget(node, lookups);
  ::fuse_reply_none(request);
}

void forget_multi(fuse_req_t request, std::size_t count, fuse_forget_data* forgotten) {
  for (const fuse_forget_data& one : std::span(forgotten, count))
    files_of(request).forget(one.ino, one.nlookup);
  ::fuse_reply_none(request);
}

void mknod(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode, dev_t device) {
  reply(request, files_of(request).make_node(parent, name, mode, device, caller_of(request)));
}

void mkdir(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode) {
  reply(request, files_of(request).make_directory(parent, name, mode, caller_of(request)));
}

void symlink(fuse_req_t request, const char* target, fuse_ino_t parent, const char* name) {
  reply(request, files_of(request).make_link(parent, name, target, caller_of(request)));
}

void link(fuse_req_t request, fuse_ino_t node, fuse_ino_t parent, const char* name) {
  reply(request, files_of(request).link(node, parent, name));
}

void unlink(fuse_req_t request, fuse_ino_t parent, const char* name) {
  reply(request, files_of(request).unlink(parent, name));
}

void rmdir(fuse_req_t request, fuse_ino_t parent, const char* name) {
  reply(request, files_of(request).remove_directory(parent, name));
}

void rename(fuse_req_t request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
            const char* new_name, unsigned flags) {
  reply(request,
        files_of(request).rename(parent, name, new_parent, new_name, flags, caller_of(request)));
}

// --- attributes

void getattr(fuse_req_t request, fuse_ino_t node, fuse_file_info* file) {
  reply(request, files_of(request).attributes(node, handle_of(file)));
}

timespec change_of_time(int set, int time_flag, int now_flag, const timespec& time) {
  if ((set & now_flag) != 0) return {0, UTIME_NOW};
  return (set & time_flag) != 0 ? time : timespec{0, UTIME_OMIT};
}

/// The time of a last change of attributes (FUSE_SET_ATTR_CTIME) is left to the host: it is now.
Changes changes_of(const struct stat& values, int set) {
  Changes changes;
  if ((set & FUSE_SET_ATTR_MODE) != 0) changes.mode = values.st_mode;
  if ((set & FUSE_SET_ATTR_UID) != 0) changes.uid = values.st_uid;
  if ((set & FUSE_SET_ATTR_GID) != 0) changes.gid = values.st_gid;
  if ((set & FUSE_SET_ATTR_SIZE) != 0) changes.size = values.st_size;
  changes.accessed =
      change_of_time(set, FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW, values.st_atim);
  changes.modified =
      change_of_time(set, FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW, values.st_mtim);
  return changes;
}

void setattr(fuse_req_t request, fuse_ino_t node, struct stat* values, int set,
             fuse_file_info* file) {
  reply(request, files_of(request).change(node, handle_of(file), changes_of(*values, set)));
}

void readlink(fuse_req_t request, fuse_ino_t node) {
  auto target = files_of(request).read_link(node);
  if (!target) return reply_error(request, target.error());
  ::fuse_reply_readlink(request, target->c_str());
}

void statfs(fuse_req_t request, fuse_ino_t node) {
  auto statistics = files_of(request).statistics(node);
  if (!statistics) return reply_error(request, statistics.error());
  ::fuse_reply_statfs(request, &*statistics);
}

void setxattr(fuse_req_t request, fuse_ino_t node, const char* name, const char* value,
              std::size_t size, int flags) {
  reply(request, files_of(request).set_attribute(node, name, {value, size}, flags));
}

void getxattr(fuse_req_t request, fuse_ino_t node, const char* name, std::size_t size) {
  reply_attribute(request, files_of(request).attribute(node, name, size), size);
}

void listxattr(fuse_req_t request, fuse_ino_t node, std::size_t size) {
  reply_attribute(request, files_of(request).attribute_list(node, size), size);
}

void removexattr(fuse_req_t request, fuse_ino_t node, const char* name) {
  reply(request, files_of(request).remove_attribute(node, name));
}

// --- files

void create(fuse_req_t request, fuse_ino_t parent, const char* name, mode_t mode,
            fuse_file_info* file) {
  reply(request, files_of(request).create(parent, name, mode, file->flags, caller_of(request)));
}

void open(fuse_req_t request, fuse_ino_t node, fuse_file_info* file) {
  reply(request, files_of(request).open(node, file->flags));
}

void read(fuse_req_t request, fuse_ino_t node, std::size_t size, off_t offset,
          fuse_file_info* file) {
  const auto buffer = std::make_unique_for_overwrite<char[]>(size);
  auto count = files_of(request).read(node, file->fh, offset, {buffer.get(), size});
  if (!count) return reply_error(request, count.error());
  ::fuse_reply_buf(request, buffer.get(), *count);
}

void write(fuse_req_t request, fuse_ino_t node, const char* data, std::size_t size, off_t offset,
           fuse_file_info* file) {
  const int flags = file->writepage != 0 ? 0 : file->flags;
  reply_count(request, files_of(request).write(node, file->fh, offset, {data, size}, flags));
}

void flush(fuse_req_t request, fuse_ino_t node, fuse_file_info* file) {
  reply(request, files_of(request).flush(node, file->fh, file->lock_owner));
}

void release(fuse_req_t request, fuse_ino_t node, fuse_file_info* file) {
  reply(request, files_of(request).release(node, file->fh));
}

void fsync(fuse_req_t request, fuse_ino_t node, int data_only, fuse_file_info* file) {
  reply(request, files_of(request).sync(node, file->fh, data_only != 0));
}

void fallocate(fuse_req_t request, fuse_ino_t node, int mode, off_t offset, off_t length,
               fuse_file_info* file) {
  reply(request, files_of(request).allocate(node, file->fh, mode, offset, length));
}

void lseek(fuse_req_t request, fuse_ino_t node, off_t offset, int whence, fuse_file_info* file) {
  auto found = files_of(request).seek(node, file->fh, offset, whence);
  if (!found) return reply_error(request, found.error());
  ::fuse_reply_lseek(request, *found);
}

void copy_file_range(fuse_req_t request, fuse_ino_t from, off_t from_offset,
                     fuse_file_info* from_file, fuse_ino_t to, off_t to_offset,
                     fuse_file_info* to_file, std::size_t length, int /*flags*/) {
  reply_count(request, files_of(request).copy(from, from_file->fh, from_offset, to, to_file->fh,
                                              to_offset, length));
}

// --- directories

/// The listing of a directory, as it is sent.
class Listing {
 public:
  explicit Listing(std::size_t room) : bytes_(new char[room]), room_(room) {}

  char* rest() { return bytes_.get() + used_; }
  std::size_t room() const { return room_ - used_; }
  void took(std::size_t size) { used_ += size; }

  /// An error counts only if there is nothing to tell: what has been looked up must be told.
  void reply(fuse_req_t request, const Answer<void>& answer) const {
    if (!answer && used_ == 0) return reply_error(request, answer.error());
    ::fuse_reply_buf(request, bytes_.get(), used_);
  }

 private:
  std::unique_ptr<char[]> bytes_;
  std::size_t room_;
  std::size_t used_ = 0;
};

bool put_name(fuse_req_t request, Listing& listing, const DirectoryEntry& entry) {
  struct stat values {};
  values.st_ino = entry.inode;
  values.st_mode = entry.type;
  const std::size_t size =
      ::fuse_add_direntry(request, listing.rest(), listing.room(), entry.name, &values, entry.next);
  if (size > listing.room()) return false;
  listing.took(size);
  return true;
}

void readdir(fuse_req_t request, fuse_ino_t node, std::size_t size, off_t offset,
             fuse_file_info* file) {
  Listing listing(size);
  const auto answer = files_of(request).read_directory(
      node, file->fh, offset, size,
      [&](const DirectoryEntry& entry) { return put_name(request, listing, entry); });
  listing.reply(request, answer);
}

bool is_itself_or_above(const char* name) {
  return std::strcmp(name, ".") == 0 || std::strcmp(name, "..") == 0;
}

/// What is told of an entry: all, or, if it is not looked up, its name, number and type. The guest
/// looks it up when it needs it.
fuse_entry_param look_up_entry(FileSystem& files, fuse_ino_t node, const DirectoryEntry& entry) {
  if (node != kRoot && !is_itself_or_above(entry.name)) {
    if (auto found = files.look_up(node, entry.name)) return entry_of(*found);
  }
  fuse_entry_param parameters{};
  parameters.attr.st_ino = entry.inode;
  parameters.attr.st_mode = entry.type;
  return parameters;
}

bool put_entry(fuse_req_t request, Listing& listing, fuse_ino_t node, const DirectoryEntry& entry) {
  // Only what fits is looked up, as each lookup counts.
  const std::size_t size =
      ::fuse_add_direntry_plus(request, nullptr, 0, entry.name, nullptr, entry.next);
  if (size > listing.room()) return false;
  const fuse_entry_param parameters = look_up_entry(files_of(request), node, entry);
  ::fuse_add_direntry_plus(request, listing.rest(), listing.room(), entry.name, &parameters,
                           entry.next);
  listing.took(size);
  return true;
}

/// Entries that are told with their attributes are several times as long as the host's.
constexpr std::size_t kTimesAsLong = 4;

void readdirplus(fuse_req_t request, fuse_ino_t node, std::size_t size, off_t offset,
                 fuse_file_info* file) {
  Listing listing(size);
  const auto answer = files_of(request).read_directory(
      node, file->fh, offset, size / kTimesAsLong,
      [&](const DirectoryEntry& entry) { return put_entry(request, listing, node, entry); });
  listing.reply(request, answer);
}

void opendir(fuse_req_t request, fuse_ino_t node, fuse_file_info* /*file*/) {
  reply(request, files_of(request).open_directory(node));
}

// --- locks

/// Answers once the lock is there, which may be later and on another thread.
FileSystem::Answered answer_later(fuse_req_t request) {
  auto kept = static_cast<OperationContext*>(::fuse_req_userdata(request))->keep();
  return [request, kept = std::move(kept)](int error) { ::fuse_reply_err(request, error); };
}

void getlk(fuse_req_t request, fuse_ino_t node, fuse_file_info* file, struct flock* range) {
  const auto answer = files_of(request).test_lock(node, {file->fh, file->lock_owner}, *range);
  if (!answer) return reply_error(request, answer.error());
  ::fuse_reply_lock(request, range);
}

void setlk(fuse_req_t request, fuse_ino_t node, fuse_file_info* file, struct flock* range,
           int sleep) {
  files_of(request).lock_range(node, {file->fh, file->lock_owner}, *range, sleep != 0,
                               answer_later(request));
}

void flock(fuse_req_t request, fuse_ino_t node, fuse_file_info* file, int operation) {
  const bool wait = (operation & LOCK_NB) == 0;
  files_of(request).lock_file(node, file->fh, operation & ~LOCK_NB, wait, answer_later(request));
}

}  // namespace

fuse_lowlevel_ops fuse_operations() {
  fuse_lowlevel_ops operations{};
  operations.init = init;
  operations.lookup = lookup;
  operations.forget = forget;
  operations.forget_multi = forget_multi;
  operations.mknod = mknod;
  operations.mkdir = mkdir;
  operations.symlink = symlink;
  operations.link = link;
  operations.unlink = unlink;
  operations.rmdir = rmdir;
  operations.rename = rename;
  operations.getattr = getattr;
  operations.setattr = setattr;
  operations.readlink = readlink;
  operations.statfs = statfs;
  operations.setxattr = setxattr;
  operations.getxattr = getxattr;
  operations.listxattr = listxattr;
  operations.removexattr = removexattr;
  operations.create = create;
  operations.open = open;
  operations.read = read;
  operations.write = write;
  operations.flush = flush;
  operations.release = release;
  operations.fsync = fsync;
  operations.fallocate = fallocate;
  operations.lseek = lseek;
  operations.copy_file_range = copy_file_range;
  operations.opendir = opendir;
  operations.readdir = readdir;
  operations.readdirplus = readdirplus;
  operations.releasedir = release;
  operations.fsyncdir = fsync;
  operations.getlk = getlk;
  operations.setlk = setlk;
  operations.flock = flock;
  return operations;
}

}  // namespace fileserver
