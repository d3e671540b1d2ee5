// Detach keys: the key sequence that ends an attachment instead of reaching the process
// ("ctrl-p,ctrl-q" by default).
//
// Trust: both the specification and the bytes come from the client.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"

namespace docker {

class DetachKeys {
 public:
  /// "ctrl-p,ctrl-q", "a", "ctrl-@"...; empty: the default. kInvalidArgument if malformed.
  static base::Result<DetachKeys> parse(std::string_view text);

  struct Scan {
    std::vector<std::byte> pass;  // what goes to the process
    bool detach = false;          // the sequence is complete; later bytes are dropped
  };
  /// Bytes that may begin the sequence are held back until it is known.
  Scan scan(std::span<const std::byte> input);

 private:
  std::vector<std::byte> keys_;
  std::size_t matched_ = 0;
};

}  // namespace docker
