// DatagramQueue: the datagrams of one peer that wait for their way into the machine.
//
// Threads: one. Memory: kMost. Trust: peers choose the datagrams, the machine chooses the credit.
#pragma once

#include <deque>
#include <optional>
#include <span>

#include "vmm/base/result.h"
#include "vmm/emulated/link/messages.h"

namespace emulated {

class DatagramQueue {
 public:
  /// In bytes of frames, and so much for each that the shortest ones do not become many.
  static constexpr std::size_t kMost = 2 * kWindow;
  static constexpr std::size_t kOverhead = 64;

  /// False if there is no room: the datagram is lost.
  bool push(std::span<const std::byte> datagram);
  /// The next frame, if there is one and the window takes it.
  std::optional<wire::Bytes> next();
  /// kDataLoss if it is for more than was sent.
  base::Result<void> on_credit(std::size_t bytes);

  /// Bytes of frames that the agent has not passed on yet: at most kWindow.
  std::size_t on_the_way() const { return on_the_way_; }

 private:
  std::deque<wire::Bytes> frames_;
  std::size_t size_ = 0;  // of frames_, with the overhead
  std::size_t on_the_way_ = 0;
};

}  // namespace emulated
