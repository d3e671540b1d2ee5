// ClientId: who is at the other end of a connection, as the kernel says (SO_PEERCRED).
//
// It tells clients apart for fairness only, never for permission: a process may have handed its
// connection to another one, and everything that comes through one relay is one client.
#pragma once

#include <sys/types.h>

#include <compare>

namespace http {

struct ClientId {
  uid_t uid = 0;
  pid_t pid = 0;
  auto operator<=>(const ClientId&) const = default;
};

/// The client of a connected unix socket; all zero where the kernel does not know it.
ClientId client_of(int socket);

}  // namespace http
