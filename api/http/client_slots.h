// ClientSlots: a fixed number of places for slow work, shared fairly among clients.
//
// A place that becomes free goes to the waiter whose user, then whose process, holds the fewest,
// and among those to the one that came first: whoever queues a thousand requests delays the next
// client by one of them. A process never holds more than `per_client`.
//
// Threads: the io_context thread. A waiter may be cancelled. Slots and waiters may be destroyed
// after the ClientSlots.
#pragma once

#include <cstddef>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <tuple>
#include <utility>

#include "api/async/blocking_pool.h"
#include "api/async/net.h"
#include "api/async/notifier.h"
#include "api/http/client_id.h"

namespace http {

class ClientSlots {
  struct State;

 public:
  class [[nodiscard]] Slot {
   public:
    Slot(std::shared_ptr<State> state, ClientId client)
        : state_(std::move(state)), client_(client) {}
    Slot(Slot&& other) noexcept
        : state_(std::exchange(other.state_, nullptr)), client_(other.client_) {}
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;
    ~Slot() {
      if (state_) state_->give_back(client_);
    }

   private:
    std::shared_ptr<State> state_;
    ClientId client_;
  };

  ClientSlots(const net::any_io_executor& executor, std::size_t count, std::size_t per_client)
      : state_(std::make_shared<State>(executor, count, per_client)) {}

  net::awaitable<Slot> take(ClientId client) { return take_from(state_, client); }

 private:
  struct Waiter {
    ClientId client;
    async::Notifier granted;
    std::optional<Slot> slot{};
  };

  struct State : std::enable_shared_from_this<State> {
    State(net::any_io_executor the_executor, std::size_t the_count, std::size_t most)
        : executor(std::move(the_executor)), left(the_count), per_client(most) {}

    void give_back(ClientId client) {
      ++left;
      if (--by_user[client.uid] == 0) by_user.erase(client.uid);
      if (--by_client[client] == 0) by_client.erase(client);
      grant();
    }

    /// Gives what is free to those whose turn it is.
    void grant() {
      while (left > 0) {
        const auto next = next_in_turn();
        if (next == waiting.end()) return;
        Waiter& waiter = **next;
        waiting.erase(next);
        --left;
        ++by_user[waiter.client.uid];
        ++by_client[waiter.client];
        waiter.slot.emplace(this->shared_from_this(), waiter.client);
        waiter.granted.notify_all();
      }
    }

    std::list<Waiter*>::iterator next_in_turn() {
      auto best = waiting.end();
      std::pair<std::size_t, std::size_t> fewest;
      for (auto at = waiting.begin(); at != waiting.end(); ++at) {
        const std::pair held{held_of(by_user, (*at)->client.uid),
                             held_of(by_client, (*at)->client)};
        if (held.second >= per_client || (best != waiting.end() && held >= fewest)) continue;
        best = at;
        fewest = held;
      }
      return best;
    }

    template <typename Key>
    static std::size_t held_of(const std::map<Key, std::size_t>& counts, const Key& key) {
      const auto found = counts.find(key);
      return found == counts.end() ? 0 : found->second;
    }

    const net::any_io_executor executor;
    std::size_t left;
    const std::size_t per_client;
    std::list<Waiter*> waiting;  // in the order they came
    std::map<uid_t, std::size_t> by_user;
    std::map<ClientId, std::size_t> by_client;
  };

  /// A place in the list, held for as long as a coroutine waits, however the wait ends.
  struct InLine {
    InLine(std::shared_ptr<State> the_state, ClientId client)
        : state(std::move(the_state)), waiter{client, async::Notifier(state->executor)} {
      state->waiting.push_back(&waiter);
      state->grant();
    }
    InLine(const InLine&) = delete;
    InLine& operator=(const InLine&) = delete;
    ~InLine() { state->waiting.remove(&waiter); }

    std::shared_ptr<State> state;
    Waiter waiter;
  };

  static net::awaitable<Slot> take_from(std::shared_ptr<State> state, ClientId client) {
    InLine place(std::move(state), client);
    while (!place.waiter.slot) co_await place.waiter.granted.wait();
    co_return *std::move(place.waiter.slot);
  }

  std::shared_ptr<State> state_;
};

/// Threads for long work that waits neither for a client nor for a guest. Clients share them by
/// ClientSlots.
class ClientPool {
 public:
  ClientPool(const net::any_io_executor& executor, std::size_t threads, std::size_t per_client)
      : slots_(executor, threads, per_client), pool_(threads) {}

  /// As BlockingPool::run(), once the client has its turn. A client that leaves before gives its
  /// turn up.
  template <typename T>
  net::awaitable<T> run(ClientId client, std::function<T()> call) {
    const ClientSlots::Slot slot = co_await slots_.take(client);
    co_return co_await pool_.run(std::move(call));
  }

  /// As BlockingPool::run_stoppable(), once the client has its turn.
  template <typename T>
  net::awaitable<T> run_stoppable(ClientId client, std::function<T(std::stop_token)> call) {
    const ClientSlots::Slot slot = co_await slots_.take(client);
    co_return co_await pool_.run_stoppable(std::move(call));
  }

 private:
  ClientSlots slots_;
  async::BlockingPool pool_;
};

}  // namespace http
