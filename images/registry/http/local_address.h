// is_local_address(): whether an address leads to this host itself, or to what only this host
// reaches (loopback, link-local: there clouds tell a machine its secrets).
//
// For URLs that a client names and whose contents it gets to see. Asked of the address that is
// connected to, after the resolver, so that no name gets around it. Threads: any.
#pragma once

#include <sys/socket.h>

namespace registry {

bool is_local_address(const sockaddr& address);

}  // namespace registry
