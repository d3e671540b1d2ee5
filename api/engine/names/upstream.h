// Asking name servers for what no container is called.
//
// Threads: the io_context thread; each question waits by itself. Trust: an answer comes from the
// server that was asked, or from whoever can forge its datagrams; it is not looked into here but
// for the number of its question, which is new for each.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "api/async/net.h"

namespace engine::dns {

inline constexpr std::chrono::milliseconds kServerPatience{2500};

/// The first answer that one of `servers` (addresses) gives to `message`, a query; each is asked
/// once, at most three of them. Empty: none answered. `stream`: over TCP. `port`: of the servers.
net::awaitable<std::vector<std::byte>> ask_servers(
    std::vector<std::string> servers, std::vector<std::byte> message, bool stream,
    std::chrono::milliseconds patience = kServerPatience, std::uint16_t port = 53);

}  // namespace engine::dns
