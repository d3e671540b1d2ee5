#include "api/engine/output/log_reader.h"

#include "api/engine/output/container_log.h"

namespace engine {

using base::Result;

LogReader::LogReader(std::shared_ptr<ContainerLog> log, std::shared_ptr<LogCursor> cursor,
                     bool follow)
    : log_(std::move(log)), cursor_(std::move(cursor)) {
  if (follow) log_->followers_.insert(cursor_.get());
}

LogReader::~LogReader() {
  log_->followers_.erase(cursor_.get());
  log_->progress_.notify_all();
}

net::awaitable<Result<void>> LogReader::seek_to_tail(std::size_t lines) {
  const std::function<Result<bool>()> seek = [log = log_, cursor = cursor_, lines] {
    return cursor->seek_some(lines);
  };
  for (;;) {
    const auto done = co_await log_->in_turn(seek);
    log_->turns_.use_allowance(LogCursor::kReadSize);
    if (!done) co_return done.error();
    if (*done) co_return Result<void>();
  }
}

net::awaitable<Result<LogBatch>> LogReader::next_batch() {
  const std::function<Result<LogBatch>()> read = [log = log_, cursor = cursor_] {
    return cursor->next_batch();
  };
  auto batch = co_await log_->in_turn(read);
  log_->turns_.use_allowance(LogCursor::kReadSize);
  log_->progress_.notify_all();
  co_return batch;
}

}  // namespace engine
