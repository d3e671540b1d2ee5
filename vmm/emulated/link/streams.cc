#include "vmm/emulated/link/streams.h"

#include <limits.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace emulated {

void Source::on_ready(Channel& channel) {
  std::array<std::byte, kMaxChunk> buffer;
  const ssize_t n = ::read(fd_.get(), buffer.data(), std::min(buffer.size(), credit_));
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (n <= 0) {  // A pty master reports EIO when the last process closed its side.
    fd_.reset();
    channel.send(Close{.stream = name_});
    return;
  }
  credit_ -= static_cast<std::size_t>(n);
  channel.send(Data{.stream = name_, .bytes = {buffer.begin(), buffer.begin() + n}});
}

base::Result<void> Source::on_credit(std::size_t bytes) {
  if (bytes > kWindow - credit_)
    return base::Error{base::Code::kDataLoss, "credit for bytes that were never sent"};
  credit_ += bytes;
  return {};
}

base::Result<void> Sink::on_data(const wire::Bytes& bytes, Channel& channel) {
  if (bytes.size() > kMaxChunk || pending_.size() + bytes.size() > kWindow || ended_)
    return base::Error{base::Code::kDataLoss, "data beyond the window"};
  if (!open()) {  // Already broken: the sender has been told; keep its window moving.
    channel.send(Credit{.stream = name_, .bytes = static_cast<std::uint32_t>(bytes.size())});
    return {};
  }
  pending_.insert(pending_.end(), bytes.begin(), bytes.end());
  return {};
}

void Sink::add_own(std::byte byte) {
  if (!open()) return;
  pending_.push_back(byte);
  ++own_;
}

std::uint32_t Sink::senders(std::size_t bytes) {
  const std::size_t left = pending_.size();
  const std::size_t gone = own_ > left ? own_ - left : 0;
  own_ -= gone;
  return static_cast<std::uint32_t>(bytes - gone);
}

void Sink::on_close() {
  ended_ = true;
  if (pending_.empty()) fd_.reset();
}

void Sink::on_ready(Channel& channel) {
  // poll promises room for PIPE_BUF bytes, so a blocking descriptor does not block here.
  std::array<std::byte, PIPE_BUF> piece;
  const std::size_t size = std::min(piece.size(), pending_.size());
  std::copy_n(pending_.begin(), size, piece.begin());
  const ssize_t n = ::write(fd_.get(), piece.data(), size);
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
  if (n < 0) {
    fd_.reset();
    const std::size_t unwritten = pending_.size();
    pending_.clear();
    channel.send(Credit{.stream = name_, .bytes = senders(unwritten)});
    channel.send(Close{.stream = name_});
    return;
  }
  pending_.erase(pending_.begin(), pending_.begin() + n);
  if (const std::uint32_t bytes = senders(static_cast<std::size_t>(n)); bytes > 0)
    channel.send(Credit{.stream = name_, .bytes = bytes});
  if (pending_.empty() && ended_) fd_.reset();
}

}  // namespace emulated
