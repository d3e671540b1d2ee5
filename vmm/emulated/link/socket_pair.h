// SocketPair: a connected pair of stream sockets, for tests of the emulated machine.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "vmm/base/unique_fd.h"

namespace emulated {

struct SocketPair {
  base::UniqueFd left;
  base::UniqueFd right;

  SocketPair() {
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    left.reset(fds[0]);
    right.reset(fds[1]);
  }
};

}  // namespace emulated
