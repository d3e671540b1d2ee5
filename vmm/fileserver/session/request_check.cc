#include "vmm/fileserver/session/request_check.h"

#include <fcntl.h>
#include <linux/fuse.h>

#include <cstring>
#include <limits>
#include <optional>
#include <string_view>

#include "vmm/fileserver/files/limits.h"

namespace fileserver {
namespace {

using Action = Verdict::Action;
using Bytes = std::span<const std::byte>;

/// What follows the fixed part of a request.
enum class Rest { kNothing, kName, kTwoNames, kNameAndTarget, kNameAndValue, kAttribute, kData };

struct Form {
  std::uint32_t opcode;
  std::size_t fixed;  // bytes
  Rest rest = Rest::kNothing;
};

// libfuse 3.14 does not ask for FUSE_SETXATTR_EXT, nor for anything that adds extensions to others.
constexpr Form kForms[] = {
    {FUSE_LOOKUP, 0, Rest::kName},
    {FUSE_FORGET, sizeof(fuse_forget_in)},
    {FUSE_GETATTR, sizeof(fuse_getattr_in)},
    {FUSE_SETATTR, sizeof(fuse_setattr_in)},
    {FUSE_READLINK, 0},
    {FUSE_SYMLINK, 0, Rest::kNameAndTarget},
    {FUSE_MKNOD, sizeof(fuse_mknod_in), Rest::kName},
    {FUSE_MKDIR, sizeof(fuse_mkdir_in), Rest::kName},
    {FUSE_UNLINK, 0, Rest::kName},
    {FUSE_RMDIR, 0, Rest::kName},
    {FUSE_RENAME, sizeof(fuse_rename_in), Rest::kTwoNames},
    {FUSE_LINK, sizeof(fuse_link_in), Rest::kName},
    {FUSE_OPEN, sizeof(fuse_open_in)},
    {FUSE_READ, sizeof(fuse_read_in)},
    {FUSE_WRITE, sizeof(fuse_write_in), Rest::kData},
    {FUSE_STATFS, 0},
    {FUSE_RELEASE, sizeof(fuse_release_in)},
    {FUSE_FSYNC, sizeof(fuse_fsync_in)},
    {FUSE_SETXATTR, FUSE_COMPAT_SETXATTR_IN_SIZE, Rest::kNameAndValue},
    {FUSE_GETXATTR, sizeof(fuse_getxattr_in), Rest::kAttribute},
    {FUSE_LISTXATTR, sizeof(fuse_getxattr_in)},
    {FUSE_REMOVEXATTR, 0, Rest::kAttribute},
    {FUSE_FLUSH, sizeof(fuse_flush_in)},
    {FUSE_INIT, sizeof(fuse_init_in)},
    {FUSE_OPENDIR, sizeof(fuse_open_in)},
    {FUSE_READDIR, sizeof(fuse_read_in)},
    {FUSE_RELEASEDIR, sizeof(fuse_release_in)},
    {FUSE_FSYNCDIR, sizeof(fuse_fsync_in)},
    {FUSE_GETLK, sizeof(fuse_lk_in)},
    {FUSE_SETLK, sizeof(fuse_lk_in)},
    {FUSE_SETLKW, sizeof(fuse_lk_in)},
    {FUSE_CREATE, sizeof(fuse_create_in), Rest::kName},
    {FUSE_DESTROY, 0},
    {FUSE_FALLOCATE, sizeof(fuse_fallocate_in)},
    {FUSE_READDIRPLUS, sizeof(fuse_read_in)},
    {FUSE_RENAME2, sizeof(fuse_rename2_in), Rest::kTwoNames},
    {FUSE_LSEEK, sizeof(fuse_lseek_in)},
    {FUSE_COPY_FILE_RANGE, sizeof(fuse_copy_file_range_in)},
};

const Form* form_of(std::uint32_t opcode) {
  for (const Form& form : kForms)
    if (form.opcode == opcode) return &form;
  return nullptr;
}

/// The request's T, of which the table says that it is there.
template <typename T>
T fixed_part(Bytes payload) {
  T part{};
  std::memcpy(&part, payload.data(), sizeof part);
  return part;
}

/// Cuts a string with its NUL off the front of `rest`; nothing if there is no NUL.
std::optional<std::string_view> take_string(Bytes& rest) {
  const std::string_view text(reinterpret_cast<const char*>(rest.data()), rest.size());
  const std::size_t end = text.find('\0');
  if (end == std::string_view::npos) return std::nullopt;
  rest = rest.subspan(end + 1);
  return text.substr(0, end);
}

/// One name in a directory: 0, or why it is none.
int check_name(Bytes& rest) {
  const auto name = take_string(rest);
  if (!name) return EINVAL;
  if (name->empty()) return ENOENT;
  if (name->size() > kLongestName) return ENAMETOOLONG;
  if (*name == "." || *name == ".." || name->find('/') != std::string_view::npos) return EINVAL;
  return 0;
}

int check_target(Bytes& rest) {
  const auto target = take_string(rest);
  if (!target) return EINVAL;
  if (target->empty()) return ENOENT;
  return target->size() > kLongestTarget ? ENAMETOOLONG : 0;
}

int check_attribute(Bytes& rest) {
  const auto name = take_string(rest);
  if (!name) return EINVAL;
  return name->empty() || name->size() > kLongestName ? ERANGE : 0;
}

/// The value of an attribute: as long as the fixed part says, and not longer than Linux has them.
int check_value(Bytes& rest, std::uint32_t size) {
  if (size > kLargestAttribute) return E2BIG;
  if (rest.size() != size) return EINVAL;
  rest = {};
  return 0;
}

int check_data(Bytes& rest, std::uint32_t size) {
  if (rest.size() != size || size > kMostData) return EINVAL;
  rest = {};
  return 0;
}

int check_rest(const Form& form, Bytes payload) {
  Bytes rest = payload.subspan(form.fixed);
  int error = 0;
  switch (form.rest) {
    case Rest::kNothing:
      break;
    case Rest::kName:
      error = check_name(rest);
      break;
    case Rest::kTwoNames:
      error = check_name(rest);
      if (error == 0) error = check_name(rest);
      break;
    case Rest::kNameAndTarget:
      error = check_name(rest);
      if (error == 0) error = check_target(rest);
      break;
    case Rest::kNameAndValue:
      error = check_attribute(rest);
      if (error == 0) error = check_value(rest, fixed_part<std::uint32_t>(payload));
      break;
    case Rest::kAttribute:
      error = check_attribute(rest);
      break;
    case Rest::kData:
      error = check_data(rest, fixed_part<fuse_write_in>(payload).size);
      break;
  }
  if (error != 0) return error;
  return rest.empty() ? 0 : EINVAL;
}

constexpr auto kEndOfFile = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());

/// `offset` and `offset + length` are offsets that a file can have.
bool is_range(std::uint64_t offset, std::uint64_t length) {
  return offset <= kEndOfFile && length <= kEndOfFile - offset;
}

/// libfuse computes a length from start and end without asking which is larger.
int check_lock(const fuse_lk_in& in) {
  const bool known = in.lk.type == F_RDLCK || in.lk.type == F_WRLCK || in.lk.type == F_UNLCK;
  return known && in.lk.start <= in.lk.end && in.lk.end <= kEndOfFile ? 0 : EINVAL;
}

int check_init(const fuse_init_in& in) {
  // Below 7.31 libfuse takes requests in older forms, which the table does not have.
  return in.major == 7 && in.minor >= 31 ? 0 : EPROTO;
}

int check_read(const fuse_read_in& in) {
  return in.size <= kMostData && is_range(in.offset, in.size) ? 0 : EINVAL;
}

int check_write(const fuse_write_in& in) { return is_range(in.offset, in.size) ? 0 : EINVAL; }

int check_fallocate(const fuse_fallocate_in& in) {
  return in.length > 0 && is_range(in.offset, in.length) ? 0 : EINVAL;
}

int check_copy(const fuse_copy_file_range_in& in) {
  return is_range(in.off_in, in.len) && is_range(in.off_out, in.len) && in.flags == 0 ? 0 : EINVAL;
}

int check_numbers(std::uint32_t opcode, Bytes payload) {
  switch (opcode) {
    case FUSE_INIT:
      return check_init(fixed_part<fuse_init_in>(payload));
    case FUSE_READ:
      return check_read(fixed_part<fuse_read_in>(payload));
    case FUSE_READDIR:
    case FUSE_READDIRPLUS:
      return fixed_part<fuse_read_in>(payload).size <= kMostData ? 0 : EINVAL;
    case FUSE_WRITE:
      return check_write(fixed_part<fuse_write_in>(payload));
    case FUSE_GETLK:
    case FUSE_SETLK:
    case FUSE_SETLKW:
      return check_lock(fixed_part<fuse_lk_in>(payload));
    case FUSE_FALLOCATE:
      return check_fallocate(fixed_part<fuse_fallocate_in>(payload));
    case FUSE_COPY_FILE_RANGE:
      return check_copy(fixed_part<fuse_copy_file_range_in>(payload));
    default:
      return 0;
  }
}

Action action_of(std::uint32_t opcode) {
  if (opcode == FUSE_INIT) return Action::kInit;
  return opcode == FUSE_DESTROY ? Action::kDestroy : Action::kServe;
}

/// A batch is as long as its count says.
bool is_batch(Bytes payload) {
  if (payload.size() < sizeof(fuse_batch_forget_in)) return false;
  const std::size_t count = fixed_part<fuse_batch_forget_in>(payload).count;
  return payload.size() - sizeof(fuse_batch_forget_in) == count * sizeof(fuse_forget_one);
}

Verdict refused(std::uint32_t opcode, int error) {
  if (is_unanswered(opcode)) return {Action::kIgnore, 0};
  return {Action::kRefuse, error};
}

}  // namespace

bool is_unanswered(std::uint32_t opcode) {
  return opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET || opcode == FUSE_INTERRUPT;
}

Verdict check_request(std::span<const std::byte> request) {
  const auto header = fixed_part<fuse_in_header>(request);
  const Bytes payload = request.subspan(sizeof header);
  if (header.opcode == FUSE_INTERRUPT) return {Action::kIgnore, 0};
  if (header.opcode == FUSE_BATCH_FORGET)
    return is_batch(payload) ? Verdict{Action::kServe, 0} : refused(header.opcode, EINVAL);
  const Form* const form = form_of(header.opcode);
  if (form == nullptr) return refused(header.opcode, ENOSYS);
  if (payload.size() < form->fixed) return refused(header.opcode, EINVAL);
  if (const int error = check_rest(*form, payload); error != 0)
    return refused(header.opcode, error);
  if (const int error = check_numbers(header.opcode, payload); error != 0)
    return refused(header.opcode, error);
  return {action_of(header.opcode), 0};
}

}  // namespace fileserver
