#include "api/engine/names/name_server.h"

#include <algorithm>

#include "api/engine/names/dns_message.h"
#include "api/engine/names/upstream.h"
#include "vmm/base/scope_exit.h"

namespace engine {

using Bytes = std::vector<std::byte>;

namespace {

constexpr double kShareOfOne = 0.2;
constexpr std::chrono::milliseconds kBurst{20};
/// Then those of machines that are gone are looked for.
constexpr std::size_t kMostAskers = 4096;

/// Where the container can go, so that it may know what is there.
bool leads_out(const NamedContainer& asking) {
  return std::any_of(asking.places.begin(), asking.places.end(),
                     [](const NamedPlace& place) { return place.leads_out; });
}

}  // namespace

Bytes NameServer::answer_here(const NamedContainer& asking, const Bytes& message) {
  const auto question = dns::parse_question(message);
  if (!question) return {};
  if (question->kind == dns::Kind::kPointer) {
    const std::string address = dns::address_of_pointer(question->name);
    const std::string name = address.empty() ? "" : registry_->name_of(asking, address);
    return name.empty() ? Bytes() : dns::with_name(message, name);
  }
  std::vector<std::string> addresses = registry_->addresses(asking, question->name);
  if (addresses.empty()) return {};
  // A container's name has addresses, and nothing else.
  std::erase_if(addresses, [&](const std::string& address) {
    return question->kind != dns::kind_of_address(address);
  });
  std::shuffle(addresses.begin(), addresses.end(), order_);
  return dns::with_addresses(message, addresses);
}

void NameServer::forget_the_gone() {
  std::erase_if(askers_, [this](const auto& asker) {
    return asker.second.forwarded == 0 && registry_->find(asker.first) == nullptr;
  });
}

bool NameServer::has_time(const std::string& machine) {
  const auto now = async::WorkShare::Clock::now();
  if (askers_.size() > kMostAskers) forget_the_gone();
  const Asker fresh{.share = async::WorkShare(kShareOfOne, kBurst)};
  async::WorkShare& own = askers_.try_emplace(machine, fresh).first->second.share;
  return own.allows(now) && all_.allows(now);
}

bool NameServer::may_forward(const std::string& machine) const {
  const int most = askers_.at(machine).forwarded == 0 ? 2 * kMostForwarded : kMostForwarded;
  return forwarded_ < most;
}

net::awaitable<Bytes> NameServer::forward(std::string machine, std::vector<std::string> servers,
                                          Bytes message, bool stream) {
  ++forwarded_;
  ++askers_.at(machine).forwarded;
  const base::ScopeExit over([this, machine] {
    --forwarded_;
    --askers_.at(machine).forwarded;
  });
  co_return co_await dns::ask_servers(std::move(servers), std::move(message), stream,
                                      dns::kServerPatience, port_);
}

net::awaitable<Bytes> NameServer::answer(std::string machine, Bytes message, bool stream) {
  const NamedContainer* const asking = registry_->find(machine);
  if (asking == nullptr || !has_time(machine)) co_return Bytes();
  const auto begin = async::WorkShare::Clock::now();
  const bool is_question = dns::parse_question(message).has_value();
  Bytes answer = is_question ? answer_here(*asking, message) : Bytes();
  const auto spent = async::WorkShare::Clock::now() - begin;
  all_.spend(spent);
  askers_.at(machine).share.spend(spent);
  if (!is_question) co_return Bytes();
  const bool forwards = answer.empty() && leads_out(*asking) && may_forward(machine);
  if (forwards) {
    std::vector<std::string> servers = asking->servers.empty() ? host_servers_() : asking->servers;
    answer = co_await forward(machine, std::move(servers), message, stream);
  }
  if (answer.empty()) co_return dns::failure(message);
  if (!stream && !forwards) co_return dns::cut_to_datagram(std::move(answer));
  co_return answer;
}

}  // namespace engine
