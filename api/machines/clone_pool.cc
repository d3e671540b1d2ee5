#include "api/machines/clone_pool.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

namespace engine {

std::shared_ptr<CloneMachine> ClonePool::take(const launch::Shape& shape) {
  if (shape != shape_ || ready_.empty()) return nullptr;
  std::shared_ptr<CloneMachine> clone = std::move(ready_.front());
  ready_.erase(ready_.begin());
  clone->on_ended(nullptr);
  return clone;
}

void ClonePool::refill() {
  if (closed_ || !idle_.is_set()) return;
  if (ready_.size() >= size_ && templates_.find(shape_)) return;
  idle_ = async::Latch(context_.executor);
  net::co_spawn(context_.executor, fill(this), net::detached);
}

net::awaitable<void> ClonePool::fill(ClonePool* self) {
  base::Result<void> done = co_await self->make_template();
  while (done && !self->closed_ && self->ready_.size() < self->size_)
    done = co_await self->add_one();
  if (!done) spdlog::error("preparing a machine in advance failed: {}", done.error().message);
  self->idle_.set();
}

/// The template is made even if no clone is kept in advance, so that the first start need not wait
/// for it.
net::awaitable<base::Result<void>> ClonePool::make_template() {
  const auto made = co_await templates_.get(shape_);
  if (!made) co_return made.error();
  co_return base::Result<void>();
}

net::awaitable<base::Result<void>> ClonePool::add_one() {
  const auto from = co_await templates_.get(shape_);
  if (!from) co_return from.error();
  const std::string name = kNamePrefix + std::to_string(made_++);
  const auto clone = co_await CloneMachine::restore(context_, name, *from);
  if (!clone) co_return clone.error();
  const auto restored = co_await (*clone)->restored();
  if (!restored || closed_) {
    (*clone)->kill();
    const MachineEnd end = co_await (*clone)->wait_stopped();
    if (restored) co_return base::Result<void>();
    co_return restored.error();
  }
  (*clone)->on_ended([this, gone = (*clone).get()] {
    std::erase_if(ready_, [gone](const auto& one) { return one.get() == gone; });
  });
  ready_.push_back(*clone);
  co_return base::Result<void>();
}

net::awaitable<void> ClonePool::close() {
  closed_ = true;
  co_await idle_.wait();
  for (const auto& clone : std::exchange(ready_, {})) {
    clone->on_ended(nullptr);
    clone->kill();
    co_await clone->wait_stopped();
  }
}

}  // namespace engine
