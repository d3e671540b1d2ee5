#include "guest-init/system/connections.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>

namespace guest_init {

bool was_closed(int connection) {
  pollfd state{.fd = connection, .events = 0, .revents = 0};
  if (poll(&state, 1, 0) > 0 && (state.revents & (POLLHUP | POLLERR)) != 0) return true;
  // vsock tells it only to those who write.
  return send(connection, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno != EAGAIN;
}

}  // namespace guest_init
