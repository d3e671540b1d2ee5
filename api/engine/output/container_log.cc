#include "api/engine/output/container_log.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>

#include "api/async/stand_back.h"

namespace engine {

using base::Result;
using protocol::Stream;
using namespace net::experimental::awaitable_operators;  // NOLINT: operator|| only

ContainerLog::ContainerLog(net::any_io_executor executor, std::filesystem::path path,
                           LogPools pools, std::chrono::milliseconds patience)
    : executor_(executor),
      patience_(patience),
      turns_(executor, pools),
      writer_(std::move(path)),
      changed_(executor),
      progress_(executor) {}

// --- turns ----------------------------------------------------------------------------------

void ContainerLog::end_turn(LogWriter::Turn& turn, Result<void>& result) {
  turns_.use_allowance(turn.encoded);
  start_compressing(std::move(turn.to_compress));
  if (result && !turn.written) result = std::move(turn.written);
  ++changes_;
  changed_.notify_all();
}

// --- writing --------------------------------------------------------------------------------

net::awaitable<void> ContainerLog::begin(LogSettings settings) {
  const std::function<std::filesystem::path()> work = [self = shared_from_this(), settings] {
    self->writer_.begin(settings);
    return self->writer_.to_compress_at_begin();
  };
  run_ = {.blocking = settings.blocking, .appended = false, .unsafe = {}};
  auto file = co_await in_turn(work);
  start_compressing(std::move(file));
}

net::awaitable<std::optional<LogPosition::Streams>> ContainerLog::resume(LogSettings settings) {
  using Found = std::pair<std::optional<LogPosition::Streams>, std::filesystem::path>;
  const std::function<Found()> work = [self = shared_from_this(), settings] {
    auto streams = self->writer_.resume(settings);
    return Found(std::move(streams), self->writer_.to_compress_at_begin());
  };
  run_.blocking = settings.blocking;
  run_.appended = true;
  auto [streams, file] = co_await in_turn(work);
  start_compressing(std::move(file));
  co_return streams;
}

net::awaitable<Result<void>> ContainerLog::append(Stream stream, Bytes bytes, TimeNs now,
                                                  Observer observer) {
  const auto self = shared_from_this();
  run_.appended = true;
  Result<void> result;
  bool blocked = false;
  for (std::size_t taken = 0; taken < bytes->size();) {
    co_await ready(blocked);
    const auto lock = co_await turns_.next();
    if (discards_ > 0) {
      if (observer) observer(taken, bytes->size() - taken);
      break;
    }
    // What a log has beyond its allowance is written on the pool that stands back for others. Its
    // container, whose output is taken no faster, stands back with it.
    async::BlockingPool& chosen = turns_.pool();
    const bool bulk = &chosen == &turns_.bulk();
    const std::function<LogWriter::Turn()> work = [self, stream, bytes, taken, now, bulk] {
      const auto append = [&] {
        return self->writer_.append(stream, std::span(*bytes).subspan(taken), now);
      };
      return bulk ? async::StandBack::run(append) : append();
    };
    auto turn = co_await chosen.run(work);
    end_turn(turn, result);
    run_.unsafe[index(stream)] = turn.unfinished;
    if (observer && turn.taken > 0) observer(taken, turn.taken);
    taken += turn.taken;
    blocked = turn.blocked;
  }
  co_return result;
}

net::awaitable<Result<void>> ContainerLog::finish(TimeNs now) {
  const auto self = shared_from_this();
  Result<void> result;
  if (!run_.appended) co_return result;
  const std::function<LogWriter::Turn()> work = [self, now] { return self->writer_.finish(now); };
  for (bool done = false, blocked = false; !done && discards_ == 0;) {
    co_await ready(blocked);
    auto turn = co_await in_turn(work);
    end_turn(turn, result);
    done = turn.done;
    blocked = turn.blocked;
  }
  run_.unsafe = {};
  co_return result;
}

bool ContainerLog::anyone_behind() const {
  return std::any_of(followers_.begin(), followers_.end(), [](const LogCursor* cursor) {
    return cursor->behind() && !cursor->given_up();
  });
}

net::awaitable<void> ContainerLog::ready(bool blocked) {
  while (blocked && compressing_ && discards_ == 0) co_await progress_.wait();
  const auto due = std::chrono::steady_clock::now() + patience_;
  while (run_.blocking && discards_ == 0 && anyone_behind() &&
         std::chrono::steady_clock::now() < due) {
    net::steady_timer timer(executor_, due);
    co_await (timer.async_wait(async::kTuple) || progress_.wait());
  }
  for (LogCursor* cursor : followers_)
    if (cursor->behind()) cursor->give_up();
}

void ContainerLog::start_compressing(std::filesystem::path plain) {
  if (plain.empty()) return;
  compressing_ = true;
  net::co_spawn(executor_, compress(shared_from_this(), std::move(plain)), net::detached);
}

net::awaitable<void> ContainerLog::compress(std::shared_ptr<ContainerLog> self,
                                            std::filesystem::path plain) {
  const auto file = std::make_shared<GzipReplacement>(plain, plain.string() + ".gz");
  // Beside the turns: nobody else uses that name.
  const std::function<Result<bool>()> step = [file] {
    return async::StandBack::run([&] { return file->step(); });
  };
  for (bool done = false; !done;) {
    const auto went = co_await self->turns_.bulk().run(step);
    if (!went) spdlog::error("{}", went.error().message);
    done = !went || *went;
  }
  self->writer_.compressed();
  self->compressing_ = false;
  self->progress_.notify_all();
}

net::awaitable<void> ContainerLog::idle() {
  const auto self = shared_from_this();
  while (compressing_) co_await progress_.wait();
}

// --- reading --------------------------------------------------------------------------------

net::awaitable<Result<std::unique_ptr<LogReader>>> ContainerLog::read(
    bool follow, std::function<void()> at_once) {
  const auto self = shared_from_this();
  const auto cursor = std::make_shared<LogCursor>(writer_.files(), follow);
  const auto lock = co_await turns_.next();
  const std::function<Result<bool>()> open = [self, cursor]() -> Result<bool> {
    auto opened = cursor->open_some();
    if (opened && *opened) self->writer_.add_cursor(cursor);
    return opened;
  };
  for (bool done = false; !done;) {
    const auto opened = co_await turns_.pool().run(open);
    if (!opened) co_return opened.error();
    done = *opened;
  }
  if (at_once) at_once();
  co_return std::unique_ptr<LogReader>(new LogReader(self, cursor, follow));
}

}  // namespace engine
