// FileSource: a stream whose bytes lie in a file that nobody changes any more. The store reads it
// where it is, and makes no copy.
#pragma once

#include <stop_token>
#include <utility>

#include "images/store/layers/layer_process.h"
#include "images/store/streams/byte_source.h"

namespace images {

class FileSource final : public RangeSource {
 public:
  /// The first `length` bytes of `fd`, which someone else owns. `stop`: see stop_token().
  FileSource(int fd, std::uint64_t length, std::stop_token stop)
      : RangeSource(fd, 0, length),
        range_{.fd = fd, .offset = 0, .length = length},
        stop_(std::move(stop)) {}

  std::stop_token stop_token() const override { return stop_; }

  /// The whole stream, however much of it was read.
  FileRange range() const { return range_; }

 private:
  FileRange range_;
  std::stop_token stop_;
};

}  // namespace images
