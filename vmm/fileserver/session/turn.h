// Turn: lets one of the server's threads at a time read requests and serve them, and another one in
// its place while that takes long.
//
// As most requests are served within microseconds, handing the stream on to another thread for each
// would cost more than the requests do. So the reader goes on by itself, and a thread that watches
// gives its turn away when it has been with one request for kLong. The watching thread sleeps while
// nothing is asked.
// Threads: take(), begin() and end() on those that serve, watch() on one more; stop() on any.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace fileserver {

class Turn {
 public:
  static constexpr std::chrono::milliseconds kLong{10};

  /// Waits until this thread reads. False: after stop().
  bool take();
  /// It has a request. Returns what end() needs.
  std::uint64_t begin();
  /// It has served it. False: meanwhile another one reads, so take() comes next.
  bool end(std::uint64_t begun);

  /// Returns after stop().
  void watch();
  void stop();

 private:
  void give_away_if_still(std::uint64_t serving);

  /// Odd while the reader serves a request; changes with each beginning and end.
  std::atomic<std::uint64_t> state_{0};
  std::atomic<bool> watched_{false};
  std::mutex mutex_;
  std::condition_variable vacated_;
  std::condition_variable changed_;
  bool vacant_ = true;
  bool stopped_ = false;
};

}  // namespace fileserver
