#include "guest-init/process/replay_buffer.h"

#include <algorithm>

namespace guest_init {

ReplayBuffer::ReplayBuffer(std::size_t capacity) : capacity_(capacity) {}

std::span<std::byte> ReplayBuffer::free_space() {
  if (full()) return {};
  if (!storage_) storage_.reset(new std::byte[capacity_]);  // not initialised: not touched
  if (begin_ == end_) origin_ = end_;
  const std::size_t first = index(end_);
  const auto free = static_cast<std::size_t>(capacity_ - (end_ - begin_));
  return {storage_.get() + first, std::min(free, capacity_ - first)};
}

void ReplayBuffer::commit(std::size_t size) { end_ += size; }

std::span<const std::byte> ReplayBuffer::from(std::uint64_t position) const {
  if (position < begin_ || position >= end_) return {};
  const std::size_t first = index(position);
  const auto kept = static_cast<std::size_t>(end_ - position);
  return {storage_.get() + first, std::min(kept, capacity_ - first)};
}

base::Result<void> ReplayBuffer::acknowledge(std::uint64_t position) {
  if (position > end_)
    return base::Error{base::Code::kInvalidArgument, "acknowledged more than was produced"};
  begin_ = std::max(begin_, position);
  return {};
}

}  // namespace guest_init
