// control(): ioctl(2) with a Result. Threads: any.
#pragma once

#include <sys/ioctl.h>

#include <cerrno>
#include <string_view>

#include "vmm/base/result.h"

namespace kvm {

/// Makes the request and returns ioctl's result, which is not negative. An Error begins with
/// `what`; EINTR is an error like others.
template <typename Argument>
base::Result<int> control(int fd, unsigned long request, Argument argument, std::string_view what) {
  const int result = ::ioctl(fd, request, argument);
  if (result < 0) return base::errno_error(what);
  return result;
}

}  // namespace kvm
