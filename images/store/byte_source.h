// ByteSource and ByteSink: where long byte streams come from and go to (request bodies, files).
#pragma once

#include <cstddef>
#include <span>

#include "vmm/base/result.h"

namespace images {

/// A stream that is read once, from one thread.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// Fills some of `out` (which is not empty) and returns how much; 0 only at the end.
  virtual base::Result<std::size_t> read(std::span<std::byte> out) = 0;
};

/// A stream that is written once, from one thread.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  virtual base::Result<void> write(std::span<const std::byte> bytes) = 0;
};

/// Reads a descriptor that someone else owns, from its current position.
class FdSource : public ByteSource {
 public:
  explicit FdSource(int fd) : fd_(fd) {}
  base::Result<std::size_t> read(std::span<std::byte> out) override;

 private:
  int fd_;
};

/// Writes to a descriptor that someone else owns, at its current position.
class FdSink : public ByteSink {
 public:
  explicit FdSink(int fd) : fd_(fd) {}
  base::Result<void> write(std::span<const std::byte> bytes) override;

 private:
  int fd_;
};

/// Reads memory that outlives it.
class SpanSource : public ByteSource {
 public:
  explicit SpanSource(std::span<const std::byte> bytes) : bytes_(bytes) {}
  base::Result<std::size_t> read(std::span<std::byte> out) override;

 private:
  std::span<const std::byte> bytes_;
};

/// Fills all of `out`: how much could be filled before the end of `source`.
base::Result<std::size_t> read_fully(ByteSource& source, std::span<std::byte> out);

}  // namespace images
