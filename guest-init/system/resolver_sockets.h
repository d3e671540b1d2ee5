// ResolverSockets: 127.0.0.11, port 53, without a port 53.
//
// Docker's resolver is found there, and a container may still have its own server on port 53 of
// every address. So the sockets have another port of 127.0.0.11, and programs on the cgroup change
// the one into the other where processes connect, send, receive, and ask who their peer is.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace guest_init {

inline constexpr const char* kResolverAddress = "127.0.0.11";
inline constexpr std::uint16_t kNamePort = 53;

struct ResolverSockets {
  base::UniqueFd datagrams;  // both non-blocking
  base::UniqueFd listener;   // of TCP

  /// In the calling process's network namespace, whose loopback is up, for the processes of the
  /// cgroup directory `cgroup` and of those below it.
  static base::Result<ResolverSockets> open(const std::string& cgroup);
};

/// The program, for tests: what is at `from` of the resolver's address is at `to` from now on. It
/// is given a bpf_sock_addr and returns 1.
std::vector<bpf_insn> port_change_program(std::uint16_t from, std::uint16_t to);

}  // namespace guest_init
