// NameServer: answers the resolvers of containers: names of containers by itself, all others by
// asking the name servers of the host, or those that the container names.
//
// Threads: the io_context thread. Ownership: shared by the machines that ask.
// Memory: kMostForwarded questions wait for name servers at once, and one of each machine up to
// twice as many: machines that ask servers which are silent leave some to the others. Further ones
// fail. Work: a
// machine's questions take a fifth of the thread's time, all together half of it; further ones are
// dropped. Trust: a message is what a process of a container sent.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "api/async/work_share.h"
#include "api/engine/names/name_registry.h"
#include "api/machines/machine.h"

namespace engine {

class NameServer final : public NameAnswers {
 public:
  static constexpr int kMostForwarded = 256;
  /// Who is asked for names that are no container's: addresses of name servers.
  using HostServers = std::function<std::vector<std::string>()>;

  /// `port`: of the name servers.
  NameServer(std::shared_ptr<const NameRegistry> registry, HostServers host_servers,
             std::uint16_t port = 53)
      : registry_(std::move(registry)), host_servers_(std::move(host_servers)), port_(port) {}

  net::awaitable<std::vector<std::byte>> answer(std::string machine, std::vector<std::byte> message,
                                                bool stream) override;

 private:
  /// By what is known here; empty if that is nothing.
  std::vector<std::byte> answer_here(const NamedContainer& asking,
                                     const std::vector<std::byte>& message);
  struct Asker {
    async::WorkShare share;
    int forwarded = 0;  // its questions that wait for name servers
  };

  /// Whether there is time for a question of this machine's.
  bool has_time(const std::string& machine);
  bool may_forward(const std::string& machine) const;
  net::awaitable<std::vector<std::byte>> forward(std::string machine,
                                                 std::vector<std::string> servers,
                                                 std::vector<std::byte> message, bool stream);
  void forget_the_gone();

  std::shared_ptr<const NameRegistry> registry_;
  HostServers host_servers_;
  std::uint16_t port_;
  int forwarded_ = 0;
  async::WorkShare all_{0.5, std::chrono::milliseconds(50)};
  std::map<std::string, Asker> askers_;  // by machine
  std::minstd_rand order_;               // of several addresses: whoever asks takes the first
};

}  // namespace engine
