#include "api/engine/output/output_hub.h"

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
  queued_bytes_ -= chunk.bytes.size();
  hub_->room_.notify_all();
  co_return chunk;
}

OutputHub::OutputHub(net::any_io_executor executor) : executor_(executor), room_(executor) {}

bool OutputHub::has_room() const {
  return std::all_of(attachments_.begin(), attachments_.end(),
                     [](const Attachment* a) { return a->queued_bytes_ < kQueueLimit; });
}

void OutputHub::report(const base::Result<void>& written) {
  if (!written && !std::exchange(log_failed_, true)) spdlog::error("{}", written.error().message);
}

net::awaitable<void> OutputHub::write(Stream stream, std::vector<std::byte> bytes) {
  const auto self = shared_from_this();
  while (!hurried_ && !has_room()) co_await room_.wait();
  // Shared by the log and all who are attached, without a copy.
  const auto kept = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  if (!log_) {
    forward(stream, kept, 0, kept->size());
    co_return;
  }
  const ContainerLog::Observer logged = [self, stream, kept](std::size_t from, std::size_t size) {
    self->forward(stream, kept, from, size);
  };
  const auto written = co_await log_->append(stream, kept, now_ns(), logged);
  report(written);
}

void OutputHub::forward(Stream stream, const ContainerLog::Bytes& bytes, std::size_t from,
                        std::size_t size) {
  const OutputChunk chunk{
      .stream = stream, .bytes = std::span(*bytes).subspan(from, size), .owner = bytes};
  for (Attachment* attachment : attachments_) {
    if (stream == Stream::kStderr ? !attachment->want_stderr_ : !attachment->want_stdout_) continue;
    attachment->queue_.push_back(chunk);
    attachment->queued_bytes_ += size;
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

net::awaitable<void> OutputHub::finish() {
  const auto self = shared_from_this();
  if (log_) {
    const auto written = co_await log_->finish(now_ns());
    report(written);
  }
  end_attachments();
}

void OutputHub::end_attachments() {
  for (Attachment* attachment : attachments_) {
    attachment->ended_ = true;
    attachment->changed_.notify_all();
  }
}

}  // namespace engine
