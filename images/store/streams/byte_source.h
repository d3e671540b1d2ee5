// ByteSource and ByteSink: where long byte streams come from and go to (request bodies, files).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stop_token>
#include <string>
#include <utility>

#include "vmm/base/result.h"

namespace images {

/// A stream that is read once, from one thread.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// Fills some of `out` (which is not empty) and returns how much; 0 only at the end.
  virtual base::Result<std::size_t> read(std::span<std::byte> out) = 0;
  /// Drops up to `count` bytes and returns how many there were: fewer only at the end.
  virtual base::Result<std::uint64_t> skip(std::uint64_t count);
  /// Its stop is requested when nobody waits any more for what is made of the stream. read() fails
  /// then, too; the token is for the work that goes on after the last byte was read.
  virtual std::stop_token stop_token() const { return {}; }
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

/// Reads bytes [offset, offset + length) of a file that someone else owns; does not move its
/// position, so several may read one descriptor at once.
class RangeSource : public ByteSource {
 public:
  RangeSource(int fd, std::uint64_t offset, std::uint64_t length)
      : fd_(fd), offset_(offset), left_(length) {}
  base::Result<std::size_t> read(std::span<std::byte> out) override;
  base::Result<std::uint64_t> skip(std::uint64_t count) override;

 private:
  int fd_;
  std::uint64_t offset_;
  std::uint64_t left_;
};

/// Writes to a descriptor that someone else owns, at its current position.
class FdSink : public ByteSink {
 public:
  explicit FdSink(int fd) : fd_(fd) {}
  base::Result<void> write(std::span<const std::byte> bytes) override;

 private:
  int fd_;
};

/// Writes a new file that someone else owns. Blocks of zeros become holes, so a sparse file that
/// came as its zeros takes no room; finish() gives the file its length.
class SparseFileSink : public ByteSink {
 public:
  explicit SparseFileSink(int fd) : fd_(fd) {}
  base::Result<void> write(std::span<const std::byte> bytes) override;
  base::Result<void> finish();

 private:
  base::Result<void> write_at(std::span<const std::byte> bytes) const;

  int fd_;
  std::uint64_t offset_ = 0;
};

/// Reads memory that outlives it.
class SpanSource : public ByteSource {
 public:
  explicit SpanSource(std::span<const std::byte> bytes) : bytes_(bytes) {}
  base::Result<std::size_t> read(std::span<std::byte> out) override;

 private:
  std::span<const std::byte> bytes_;
};

/// Collects bytes in memory, at most `limit` of them (kResourceExhausted beyond).
class StringSink : public ByteSink {
 public:
  explicit StringSink(std::size_t limit) : limit_(limit) {}
  base::Result<void> write(std::span<const std::byte> bytes) override;
  std::string take() && { return std::move(text_); }

 private:
  std::size_t limit_;
  std::string text_;
};

/// Reads until `out` is full or `source` ends; returns how many bytes were read.
base::Result<std::size_t> read_fully(ByteSource& source, std::span<std::byte> out);

}  // namespace images
