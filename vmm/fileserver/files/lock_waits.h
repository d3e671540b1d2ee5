// LockWaits: requests that wait for a lock of another owner. One thread tries again for all of
// them, so that none keeps a thread that others need.
//
// The host's kernel tells nobody that a lock could be had now, except by blocking. So a lock that
// this server gives back is offered at once (poke), and one of another process is asked for again
// after 1 ms, then less and less often, at last each 50 ms. Waiting is not in the order of coming.
//
// Threads: any but run(), which a thread of its own calls.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>

#include "vmm/fileserver/files/tree.h"

namespace fileserver {

class LockWaits {
 public:
  struct Wait {
    std::shared_ptr<const Tree> tree;
    std::function<int()> attempt;           // 0: got it; EAGAIN: not yet; else it failed
    std::function<void(int error)> answer;  // called once, on the thread of run()
  };

  /// How often there has been an interrupt(). A request asks before it looks for what it locks.
  std::uint64_t interruptions();
  /// Waits, unless there has been an interrupt() since there were `since`. False: as many wait as
  /// may.
  bool add(Wait wait, std::uint64_t since);
  /// A lock may be free now, or a tree has been removed.
  void poke();
  /// All that wait, and that are about to wait, get EINTR.
  void interrupt();

  /// Serves until stop(). What waits then gets EINTR.
  void run();
  void stop();

 private:
  using Clock = std::chrono::steady_clock;
  struct Waiting {
    Wait wait;
    std::uint64_t interruption = 0;  // how many there had been when it came
    Clock::duration pause{};
    Clock::time_point due;
  };
  using List = std::list<Waiting>;

  void wait_for_work(std::unique_lock<std::mutex>& lock);
  List take_due();
  /// Tries all and answers those that have ended; returns the others.
  List try_all(List due);
  bool is_interrupted(const Waiting& waiting);

  std::mutex mutex_;
  std::condition_variable changed_;
  List waiting_;
  std::size_t count_ = 0;  // in waiting_, or being tried
  std::uint64_t interruptions_ = 0;
  bool poked_ = false;
  bool stopped_ = false;
};

}  // namespace fileserver
