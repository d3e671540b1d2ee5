// SeccompFilters: a container's seccomp filter, compiled once for all that have the same.
//
// Used by all that start processes in containers. Threads: the io_context thread; compiling is done
// by the pool. Memory: the newest kKept filters (some 10 KiB each, with their profiles); longer
// profiles are not kept. Errors: those of seccomp_profile.h and seccomp_filter.h.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "api/async/blocking_pool.h"
#include "api/async/net.h"
#include "api/engine/security/seccomp_filter.h"
#include "guest-init/protocol/messages.h"

namespace engine {

class SeccompFilters {
 public:
  static constexpr std::size_t kKept = 16;
  static constexpr std::size_t kLongestKept = 64u << 10;

  using Filter = std::shared_ptr<const SeccompFilter>;

  /// `pool` outlives it. `kernel_release`: the guests'.
  SeccompFilters(async::BlockingPool& pool, std::string_view kernel_release)
      : pool_(pool), kernel_(kernel_version_of(kernel_release)) {}

  /// The filter for `profile`: its text, empty for the default profile, nullopt for no filter. The
  /// result is null for no filter, and for a profile that asks for nothing.
  net::awaitable<base::Result<Filter>> get(std::optional<std::string> profile,
                                           std::uint64_t capabilities);

 private:
  struct Entry {
    std::string profile;
    std::uint64_t capabilities;
    Filter filter;
  };

  async::BlockingPool& pool_;
  const KernelVersion kernel_;
  std::deque<Entry> kept_;  // oldest first
};

/// Gives `process` the filter; null: none.
void apply_seccomp_filter(const SeccompFilters::Filter& filter, protocol::StartProcess& process);

}  // namespace engine
