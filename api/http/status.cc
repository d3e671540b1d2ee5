#include "api/http/status.h"

namespace http {

std::string_view reason_of(Status status) {
  switch (status) {
    case Status::kSwitchingProtocols:
      return "UPGRADED";  // Docker's own phrase
    case Status::kOk:
      return "OK";
    case Status::kCreated:
      return "Created";
    case Status::kNoContent:
      return "No Content";
    case Status::kNotModified:
      return "Not Modified";
    case Status::kBadRequest:
      return "Bad Request";
    case Status::kUnauthorized:
      return "Unauthorized";
    case Status::kForbidden:
      return "Forbidden";
    case Status::kNotFound:
      return "Not Found";
    case Status::kRequestTimeout:
      return "Request Timeout";
    case Status::kConflict:
      return "Conflict";
    case Status::kPayloadTooLarge:
      return "Request Entity Too Large";
    case Status::kHeadersTooLarge:
      return "Request Header Fields Too Large";
    case Status::kInternalError:
      return "Internal Server Error";
    case Status::kNotImplemented:
      return "Not Implemented";
    case Status::kServiceUnavailable:
      return "Service Unavailable";
  }
  return "Unknown";
}

Status status_of(base::Code code) {
  switch (code) {
    case base::Code::kInvalidArgument:
      return Status::kBadRequest;
    case base::Code::kNotFound:
      return Status::kNotFound;
    case base::Code::kAlreadyExists:
      return Status::kConflict;
    case base::Code::kConflict:
      return Status::kConflict;
    case base::Code::kPermissionDenied:
      return Status::kForbidden;
    case base::Code::kNotSupported:
      return Status::kNotImplemented;
    case base::Code::kUnavailable:
      return Status::kServiceUnavailable;
    case base::Code::kResourceExhausted:
    case base::Code::kDeadlineExceeded:
    case base::Code::kDataLoss:
    case base::Code::kInternal:
      return Status::kInternalError;
  }
  return Status::kInternalError;
}

}  // namespace http
