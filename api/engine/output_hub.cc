#include "api/engine/output_hub.h"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace engine {

using protocol::Stream;

Attachment::Attachment(std::shared_ptr<OutputHub> hub, bool want_stdout, bool want_stderr)
    : hub_(std::move(hub)),
      want_stdout_(want_stdout),
      want_stderr_(want_stderr),
      changed_(hub_->executor_) {
  hub_->attachments_.insert(this);
}

Attachment::~Attachment() {
  hub_->attachments_.erase(this);
  hub_->room_.notify_all();
}

net::awaitable<std::optional<OutputChunk>> Attachment::next() {
  while (queue_.empty()) {
    if (ended_) co_return std::nullopt;
    co_await changed_.wait();
  }
  OutputChunk chunk = std::move(queue_.front());
  queue_.pop_front();
  queued_bytes_ -= chunk.bytes->size();
  hub_->room_.notify_all();
  co_return chunk;
}

OutputHub::OutputHub(net::any_io_executor executor) : executor_(executor), room_(executor) {}

bool OutputHub::has_room() const {
  return std::all_of(attachments_.begin(), attachments_.end(),
                     [](const Attachment* a) { return a->queued_bytes_ < kQueueLimit; });
}

void OutputHub::log(Stream stream, std::span<const std::byte> bytes) {
  if (!log_) return;
  const auto written = log_->append(stream, bytes, now_ns());
  if (!written && !std::exchange(log_failed_, true)) spdlog::error("{}", written.error().message);
}

net::awaitable<void> OutputHub::write(Stream stream, std::span<const std::byte> bytes) {
  const auto self = shared_from_this();
  while (!hurried_ && !has_room()) co_await room_.wait();
  if (log_) co_await log_->ready();
  log(stream, bytes);
  if (attachments_.empty()) co_return;
  const OutputChunk chunk{
      stream, std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end())};
  for (Attachment* attachment : attachments_) {
    if (stream == Stream::kStderr ? !attachment->want_stderr_ : !attachment->want_stdout_) continue;
    attachment->queue_.push_back(chunk);
    attachment->queued_bytes_ += bytes.size();
    attachment->changed_.notify_all();
  }
}

void OutputHub::hurry() {
  hurried_ = true;
  room_.notify_all();
}

std::unique_ptr<Attachment> OutputHub::attach(bool want_stdout, bool want_stderr) {
  return std::unique_ptr<Attachment>(new Attachment(shared_from_this(), want_stdout, want_stderr));
}

void OutputHub::finish() {
  if (log_) {
    const auto written = log_->finish(now_ns());
    if (!written && !std::exchange(log_failed_, true)) spdlog::error("{}", written.error().message);
  }
  for (Attachment* attachment : attachments_) {
    attachment->ended_ = true;
    attachment->changed_.notify_all();
  }
}

}  // namespace engine
