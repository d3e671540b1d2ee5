// ContainerLog: one container's log, as its output hub and the clients that read it use it.
//
// Owned by its container, over all runs; readers and the hub share it. Threads: the io_context
// thread. Everything that touches files or makes lines is done by a LogWriter and LogCursors on a
// thread of the pools, in turns: one at a time for each log, in the order they were asked for, each
// of a bounded size, so that logs share the pools evenly, however much their containers print
// (log_turns.h).
// Memory: what one turn takes; nothing is queued, as a process's output is acknowledged only after
// the log has it. Trust: the text is the guest's.
#pragma once

#include <array>
#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "api/async/blocking_pool.h"
#include "api/async/net.h"
#include "api/async/notifier.h"
#include "api/engine/output/gzip_file.h"
#include "api/engine/output/log_position.h"
#include "api/engine/output/log_reader.h"
#include "api/engine/output/log_turns.h"
#include "api/engine/output/log_writer.h"
#include "api/engine/settings/log_settings.h"
#include "vmm/base/result.h"

namespace engine {

class ContainerLog : public std::enable_shared_from_this<ContainerLog> {
 public:
  using Bytes = std::shared_ptr<const std::vector<std::byte>>;
  /// Told of bytes of an append() that were taken: where they begin, and how many.
  using Observer = std::function<void(std::size_t, std::size_t)>;

  static constexpr std::chrono::milliseconds kPatience{1000};

  ContainerLog(net::any_io_executor executor, std::filesystem::path path, LogPools pools,
               std::chrono::milliseconds patience = kPatience);

  /// Takes the settings of the run that begins.
  net::awaitable<void> begin(LogSettings settings);
  /// The same for a run that an earlier daemon began. Returns how much of its output is in the log,
  /// or nullopt if that is not known.
  net::awaitable<std::optional<LogPosition::Streams>> resume(LogSettings settings);

  /// Takes output; complete lines are written. The file is created with the first line. In blocking
  /// mode it waits, when a file is full, until the one before is compressed, and for those who
  /// follow to catch up (a client that takes nothing is waited for once, `patience` long).
  /// `observer` is called in between: nobody reads the log between what was written to it and that
  /// call. The error is that of the first write that failed.
  net::awaitable<base::Result<void>> append(protocol::Stream stream, Bytes bytes, TimeNs now,
                                            Observer observer = {});
  /// How many of the bytes taken from `stream` are not in the log yet, so that resume() would not
  /// count them.
  std::size_t unsafe_bytes(protocol::Stream stream) const { return run_.unsafe[index(stream)]; }
  /// Writes unfinished lines: the run has ended.
  net::awaitable<base::Result<void>> finish(TimeNs now);

  /// While a Discard is there, output is observed but not written: the log is about to be removed
  /// with its container, which need not wait until all that it has printed is on the disk.
  /// Move-only; holds the log.
  class [[nodiscard]] Discard {
   public:
    Discard(Discard&& other) noexcept = default;
    Discard& operator=(Discard&&) = delete;
    ~Discard() {
      if (log_) --log_->discards_;
    }

   private:
    friend class ContainerLog;
    explicit Discard(std::shared_ptr<ContainerLog> log) : log_(std::move(log)) {}

    std::shared_ptr<ContainerLog> log_;
  };
  Discard discard() {
    ++discards_;
    progress_.notify_all();
    return Discard(shared_from_this());
  }

  /// A reader of what is logged now and, if `follow`, of what will be. `at_once` is called at the
  /// moment that divides the two: what is appended later is observed after that call.
  net::awaitable<base::Result<std::unique_ptr<LogReader>>> read(bool follow,
                                                                std::function<void()> at_once = {});

  /// Counts what was appended; wait_changed() completes when it is not `seen` any more.
  std::uint64_t changes() const { return changes_; }
  net::awaitable<void> wait_changed(std::uint64_t seen) {
    while (changes_ == seen) co_await changed_.wait();
  }

  /// Completes when no file is being compressed. Await it before the files are removed.
  net::awaitable<void> idle();

 private:
  friend class LogReader;

  /// What begins anew with each run of the container.
  struct LoggedRun {
    bool blocking = true;
    bool appended = false;
    std::array<std::size_t, 2> unsafe{};
  };

  static std::size_t index(protocol::Stream stream) {
    return stream == protocol::Stream::kStderr ? 1 : 0;
  }
  template <typename T>
  net::awaitable<T> in_turn(std::function<T()> work);
  net::awaitable<void> ready(bool blocked);
  bool anyone_behind() const;
  void end_turn(LogWriter::Turn& turn, base::Result<void>& result);
  /// Does nothing for an empty path.
  void start_compressing(std::filesystem::path plain);
  static net::awaitable<void> compress(std::shared_ptr<ContainerLog> self,
                                       std::filesystem::path plain);

  net::any_io_executor executor_;
  const std::chrono::milliseconds patience_;
  LogTurns turns_;
  LogWriter writer_;  // in turns only
  LoggedRun run_;
  int discards_ = 0;
  bool compressing_ = false;
  std::uint64_t changes_ = 0;
  std::set<LogCursor*> followers_;
  async::Notifier changed_;
  async::Notifier progress_;  // a follower has read something, or a file was compressed
};

template <typename T>
net::awaitable<T> ContainerLog::in_turn(std::function<T()> work) {
  const auto self = shared_from_this();
  const auto turn = co_await turns_.next();
  co_return co_await turns_.pool().run(std::move(work));
}

}  // namespace engine
