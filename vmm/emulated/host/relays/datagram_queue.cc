#include "vmm/emulated/host/relays/datagram_queue.h"

namespace emulated {

bool DatagramQueue::push(std::span<const std::byte> datagram) {
  wire::Bytes frame = wire::frame(Datagram{.bytes = wire::Bytes(datagram.begin(), datagram.end())});
  if (frame.size() > kMaxDatagramFrame || size_ + frame.size() + kOverhead > kMost) return false;
  size_ += frame.size() + kOverhead;
  frames_.push_back(std::move(frame));
  return true;
}

std::optional<wire::Bytes> DatagramQueue::next() {
  if (frames_.empty() || on_the_way_ + frames_.front().size() > kWindow) return std::nullopt;
  wire::Bytes frame = std::move(frames_.front());
  frames_.pop_front();
  size_ -= frame.size() + kOverhead;
  on_the_way_ += frame.size();
  return frame;
}

base::Result<void> DatagramQueue::on_credit(std::size_t bytes) {
  if (bytes > on_the_way_)
    return base::Error{base::Code::kDataLoss, "credit for datagrams that were never sent"};
  on_the_way_ -= bytes;
  return {};
}

}  // namespace emulated
