// is_local_address(): whether an address leads to this host itself, or to what only this host can
// reach: loopback, and link-local, where clouds give a machine its secrets.
//
// It is for URLs that a client names and whose contents the client gets to see. It judges the
// address that is connected to, after the resolver, so no name can get around it. Threads: any.
#pragma once

#include <sys/socket.h>

namespace registry {

bool is_local_address(const sockaddr& address);

}  // namespace registry
