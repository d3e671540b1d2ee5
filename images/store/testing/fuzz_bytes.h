// FuzzBytes: takes choices from a fuzzer's input; zeros once it is used up.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

namespace images::testing {

class FuzzBytes {
 public:
  FuzzBytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  bool empty() const { return size_ == 0; }
  std::uint8_t byte() {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }
  /// In [0, bound).
  unsigned below(unsigned bound) { return byte() % bound; }
  std::string text(std::size_t length) {
    const std::size_t step = std::min(length, size_);
    std::string taken(reinterpret_cast<const char*>(data_), step);
    data_ += step;
    size_ -= step;
    return taken;
  }
  std::string rest() { return text(size_); }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

}  // namespace images::testing
