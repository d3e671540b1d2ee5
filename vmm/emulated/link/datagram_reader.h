// DatagramReader: cuts what is received on an OpenUdp connection into frames (messages.h).
//
// Threads: one. Memory: as long as the longest frame of such a connection, whatever the other side
// says. Trust: the bytes are hostile.
#pragma once

#include <optional>
#include <span>

#include "vmm/base/result.h"
#include "vmm/base/wire.h"

namespace emulated {

class DatagramReader {
 public:
  /// Reads once from `socket`, which must be ready; false at the end of the stream. next() must
  /// have returned nullopt before.
  base::Result<bool> fill(int socket);
  /// Takes up to a buffer of `bytes` instead; returns how many.
  std::size_t feed(std::span<const std::byte> bytes);

  /// The next whole frame, header included in its `size`; nullopt if there is none. kDataLoss if
  /// it says that it is longer than a datagram can be.
  struct Frame {
    wire::RawFrame raw;
    std::size_t size = 0;
  };
  base::Result<std::optional<Frame>> next();

 private:
  /// What can be read now, behind what is there already.
  std::span<std::byte> space();

  wire::Bytes buffer_;
  std::size_t begin_ = 0;  // of what has not been returned
  std::size_t end_ = 0;
};

}  // namespace emulated
