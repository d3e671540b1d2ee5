// BytePipe: carries bytes from one coroutine to another, with backpressure.
//
// Threads: the io_context thread. Shared by both ends; either may end first. One writer, one
// reader. Memory: at most kLimit bytes and one piece, and after hurry() what the writer still has.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "api/async/net.h"
#include "api/async/notifier.h"
#include "vmm/base/result.h"

namespace async {

class BytePipe {
 public:
  static constexpr std::size_t kLimit = 256u << 10;
  using Piece = std::vector<std::byte>;

  explicit BytePipe(const net::any_io_executor& executor) : changed_(executor) {}

  /// Queues `piece`; completes when there is room for more. False: the reader is gone.
  net::awaitable<bool> put(Piece piece) {
    if (closed_) co_return false;
    queued_ += piece.size();
    pieces_.push_back(std::move(piece));
    changed_.notify_all();
    while (!closed_ && !hurried_ && queued_ > kLimit) co_await changed_.wait();
    co_return !closed_;
  }
  /// From now on put() does not wait for the reader: the writer has little left.
  void hurry() {
    hurried_ = true;
    changed_.notify_all();
  }

  /// Ends the writer's side: the reader gets what is queued, and then `how`.
  void finish(base::Result<void> how = {}) {
    if (!end_) end_.emplace(std::move(how));
    changed_.notify_all();
  }

  /// Gives the next piece, nullopt at the end, or the error that the writer has finished with.
  net::awaitable<base::Result<std::optional<Piece>>> take() {
    while (pieces_.empty() && !end_ && !closed_) co_await changed_.wait();
    if (!pieces_.empty()) {
      std::optional<Piece> piece = std::move(pieces_.front());
      pieces_.pop_front();
      queued_ -= piece->size();
      changed_.notify_all();
      co_return piece;
    }
    if (end_ && !*end_) co_return end_->error();
    co_return std::optional<Piece>();
  }

  /// Ends the reader's side: what is queued is dropped, and put() keeps nothing any more.
  void close() {
    closed_ = true;
    pieces_.clear();
    queued_ = 0;
    changed_.notify_all();
  }
  bool closed() const { return closed_; }
  net::awaitable<void> wait_closed() {
    while (!closed_) co_await changed_.wait();
  }

 private:
  Notifier changed_;
  std::deque<Piece> pieces_;
  std::size_t queued_ = 0;
  std::optional<base::Result<void>> end_;
  bool closed_ = false;
  bool hurried_ = false;
};

}  // namespace async
