// HTTP status numbers, and the one place where an Error becomes one.
#pragma once

#include <string_view>

#include "vmm/base/result.h"

namespace http {

enum class Status : int {
  kSwitchingProtocols = 101,
  kOk = 200,
  kCreated = 201,
  kNoContent = 204,
  kNotModified = 304,
  kBadRequest = 400,
  kUnauthorized = 401,
  kForbidden = 403,
  kNotFound = 404,
  kRequestTimeout = 408,
  kConflict = 409,
  kPayloadTooLarge = 413,
  kHeadersTooLarge = 431,
  kInternalError = 500,
  kNotImplemented = 501,
  kServiceUnavailable = 503,
};

/// The reason phrase: "Not Found".
std::string_view reason_of(Status status);

/// What Docker answers for this kind of failure.
Status status_of(base::Code code);

}  // namespace http
