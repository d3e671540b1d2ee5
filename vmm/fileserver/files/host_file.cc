#include "vmm/fileserver/files/host_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace fileserver {
namespace {

timespec time_of(const statx_timestamp& stamp) {
  return {stamp.tv_sec, static_cast<long>(stamp.tv_nsec)};
}

struct stat stat_of(const struct statx& found) {
  struct stat attributes {};
  attributes.st_dev = ::makedev(found.stx_dev_major, found.stx_dev_minor);
  attributes.st_ino = found.stx_ino;
  attributes.st_mode = found.stx_mode;
  attributes.st_nlink = found.stx_nlink;
  attributes.st_uid = found.stx_uid;
  attributes.st_gid = found.stx_gid;
  attributes.st_rdev = ::makedev(found.stx_rdev_major, found.stx_rdev_minor);
  attributes.st_size = static_cast<off_t>(found.stx_size);
  attributes.st_blksize = static_cast<blksize_t>(found.stx_blksize);
  attributes.st_blocks = static_cast<blkcnt_t>(found.stx_blocks);
  attributes.st_atim = time_of(found.stx_atime);
  attributes.st_mtim = time_of(found.stx_mtime);
  attributes.st_ctim = time_of(found.stx_ctime);
  return attributes;
}

}  // namespace

Answer<Identified> identify(int fd) {
  struct statx found {};
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &found) != 0)
    return last_errno();
  return Identified{stat_of(found), found.stx_mnt_id};
}

Answer<base::UniqueFd> find_file(int directory, const char* name) {
  base::UniqueFd fd(::openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return last_errno();
  return fd;
}

}  // namespace fileserver
