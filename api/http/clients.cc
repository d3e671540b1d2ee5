#include "api/http/clients.h"

#include <sys/socket.h>

#include <algorithm>
#include <utility>

namespace http {

namespace {

template <typename Key>
void count_down(std::map<Key, std::size_t>& counts, const Key& key) {
  const auto found = counts.find(key);
  if (found != counts.end() && --found->second == 0) counts.erase(found);
}

template <typename Key>
std::size_t count_of(const std::map<Key, std::size_t>& counts, const Key& key) {
  const auto found = counts.find(key);
  return found == counts.end() ? 0 : found->second;
}

}  // namespace

ClientId client_of(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return {};
  return {.uid = peer.uid, .pid = peer.pid};
}

/// Ranks of connections that may go are compared member by member; the greatest makes way.
struct Clients::Rank {
  int ease = 0;  // how little is lost
  std::size_t of_user = 0;
  std::size_t of_client = 0;
  Activity::Clock::duration waiting{};
  auto operator<=>(const Rank&) const = default;
};

Clients::Place Clients::add(Entry entry) {
  ++open_;
  ++by_user_[entry.client.uid];
  ++by_client_[entry.client];
  return entries_.insert(entries_.end(), std::move(entry));
}

void Clients::remove(Place place) {
  if (!place->ending) {
    --open_;
    count_down(by_user_, place->client.uid);
    count_down(by_client_, place->client);
  }
  entries_.erase(place);
}

void Clients::end(Entry& entry) {
  if (entry.ending) return;
  entry.ending = true;
  --open_;
  count_down(by_user_, entry.client.uid);
  count_down(by_client_, entry.client);
  entry.end();
}

std::size_t Clients::held_by(uid_t uid) const { return count_of(by_user_, uid); }

std::size_t Clients::held_by(ClientId client) const { return count_of(by_client_, client); }

bool Clients::has_its_share(ClientId client) const {
  const std::size_t share = limits_.connections - limits_.connections / 4;
  return held_by(client) >= share || (client.uid != 0 && held_by(client.uid) >= share);
}

bool Clients::may_end(const Entry& entry, ClientId newcomer,
                      Activity::Clock::time_point now) const {
  switch (entry.activity.state) {
    case Activity::State::kIdle:
      return true;
    case Activity::State::kHead:
    case Activity::State::kBody:
      if (now - entry.activity.since >= kStalled) return true;
      return held_by(entry.client) > held_by(newcomer) ||
             (entry.client.uid != newcomer.uid &&
              held_by(entry.client.uid) > held_by(newcomer.uid));
    case Activity::State::kServing:
      return false;
  }
  return false;
}

Clients::Rank Clients::rank_of(const Entry& entry, Activity::Clock::time_point now) const {
  const auto ease =
      static_cast<int>(Activity::State::kServing) - static_cast<int>(entry.activity.state);
  return {.ease = ease,
          .of_user = held_by(entry.client.uid),
          .of_client = held_by(entry.client),
          .waiting = now - entry.activity.since};
}

std::vector<std::pair<Clients::Rank, Clients::Entry*>> Clients::endable(
    ClientId newcomer, bool own_only, const std::function<bool(int)>& has_input) {
  const auto now = Activity::Clock::now();
  std::vector<std::pair<Rank, Entry*>> found;
  for (Entry& entry : entries_) {
    if (entry.ending || !may_end(entry, newcomer, now)) continue;
    const bool own =
        entry.client == newcomer || (newcomer.uid != 0 && entry.client.uid == newcomer.uid);
    if (own_only && !own) continue;
    // A request has just come on it, and the connection's coroutine has not read it yet.
    if (entry.activity.state == Activity::State::kIdle && has_input(entry.socket)) continue;
    found.emplace_back(rank_of(entry, now), &entry);
  }
  return found;
}

bool Clients::make_room(ClientId client, const std::function<bool(int)>& has_input) {
  const bool own_only = has_its_share(client);
  if (open_ < limits_.connections && !own_only) return true;
  auto found = endable(client, own_only, has_input);
  if (found.empty()) return false;
  // Ends several idle ones at a time, so that not every newcomer has to look through all of them.
  const std::size_t several = std::min(found.size(), limits_.connections / 64 + 1);
  std::partial_sort(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(several),
                    found.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  for (std::size_t i = 0; i < several; ++i)
    if (i == 0 || found[i].second->activity.state == Activity::State::kIdle) end(*found[i].second);
  return true;
}

void Clients::end_idle(Activity::Clock::time_point now, const std::function<bool(int)>& has_input) {
  const auto allowed = open_ > limits_.crowded ? limits_.idle_when_crowded : limits_.idle;
  for (Entry& entry : entries_)
    if (!entry.ending && entry.activity.state == Activity::State::kIdle &&
        now - entry.activity.since >= allowed && !has_input(entry.socket))
      end(entry);
}

void Clients::end_all() {
  for (Entry& entry : entries_) end(entry);
}

}  // namespace http
