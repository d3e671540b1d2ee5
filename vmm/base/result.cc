#include "vmm/base/result.h"

namespace base {

std::string_view to_string(Code code) {
  switch (code) {
    case Code::kInvalidArgument:
      return "invalid argument";
    case Code::kNotFound:
      return "not found";
    case Code::kAlreadyExists:
      return "already exists";
    case Code::kConflict:
      return "conflict";
    case Code::kPermissionDenied:
      return "permission denied";
    case Code::kResourceExhausted:
      return "resource exhausted";
    case Code::kNotSupported:
      return "not supported";
    case Code::kUnavailable:
      return "unavailable";
    case Code::kDeadlineExceeded:
      return "deadline exceeded";
    case Code::kDataLoss:
      return "data loss";
    case Code::kInternal:
      return "internal";
  }
  return "unknown";
}

namespace {

Code code_of_errno(int error_number) {
  switch (error_number) {
    case EINVAL:
    case EBADF:
    case ENAMETOOLONG:
    case E2BIG:
      return Code::kInvalidArgument;
    case ENOENT:
    case ENODEV:
    case ENXIO:
    case ESRCH:
      return Code::kNotFound;
    case EEXIST:
      return Code::kAlreadyExists;
    case EBUSY:
    case ENOTEMPTY:
      return Code::kConflict;
    case EACCES:
    case EPERM:
    case EROFS:
      return Code::kPermissionDenied;
    case ENOMEM:
    case ENOSPC:
    case EMFILE:
    case ENFILE:
    case EDQUOT:
      return Code::kResourceExhausted;
    case ENOSYS:
    case EOPNOTSUPP:
      return Code::kNotSupported;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case ENOTCONN:
    case EAGAIN:
      return Code::kUnavailable;
    case ETIMEDOUT:
      return Code::kDeadlineExceeded;
    case EILSEQ:
    case EBADMSG:
      return Code::kDataLoss;
    default:
      return Code::kInternal;
  }
}

}  // namespace

Error errno_error(std::string_view what, int error_number) {
  return Error{code_of_errno(error_number), std::string(what) + ": " + std::strerror(error_number)};
}

Error annotate(Error error, std::string_view what) {
  error.message.insert(0, std::string(what) + ": ");
  return error;
}

}  // namespace base
