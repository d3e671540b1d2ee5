// The codec of what this project's processes say to each other and keep in state files: little
// endian, no padding, no pointers.
//
// A message is a struct with
//     static constexpr MessageType kType = ...;
//     static void fields(auto& self, auto&& visit) { visit(self.a, self.b); }
// Encoding and decoding walk the same field list, so they cannot disagree. Fields may be integers,
// bool, enums, std::string, std::vector<std::byte>, std::vector<T>, std::optional<T>, std::array<T,
// N> and such structs themselves.
//
// Trust: decoded bytes are hostile. Every length is checked against the bytes that are really there
// before anything is allocated; a message must be consumed to its last byte.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "vmm/base/result.h"

namespace wire {

using Bytes = std::vector<std::byte>;

/// A frame on a byte stream: u32 payload length, u16 message type, payload.
inline constexpr std::size_t kFrameHeaderSize = 6;
/// No frame is longer than this, header included; both sides refuse larger ones.
inline constexpr std::size_t kMaxFrameSize = 4u << 20;

template <typename T>
concept Scalar = std::is_integral_v<T> || std::is_enum_v<T>;

template <typename T>
concept Struct = std::is_class_v<T> && requires(T& t) {
  T::fields(t, [](auto&...) {});
};

class Encoder {
 public:
  Bytes take() && { return std::move(out_); }

  void put_bytes(const void* data, std::size_t size) {
    if (size == 0) return;
    const auto* first = static_cast<const std::byte*>(data);
    out_.insert(out_.end(), first, first + size);
  }

  template <Scalar T>
  void put(const T& value) {
    if constexpr (std::is_enum_v<T>) {
      put(static_cast<std::underlying_type_t<T>>(value));
    } else {
      using U = std::make_unsigned_t<std::conditional_t<std::is_same_v<T, bool>, std::uint8_t, T>>;
      auto bits = static_cast<U>(value);
      std::byte raw[sizeof(U)];
      for (std::byte& b : raw) {
        b = static_cast<std::byte>(bits & 0xffu);
        if constexpr (sizeof(U) > 1) bits = static_cast<U>(bits >> 8);
      }
      put_bytes(raw, sizeof raw);
    }
  }

  void put(const std::string& text) {
    put(static_cast<std::uint32_t>(text.size()));
    put_bytes(text.data(), text.size());
  }

  template <typename T>
  void put(const std::vector<T>& items) {
    put(static_cast<std::uint32_t>(items.size()));
    if constexpr (std::is_same_v<T, std::byte>) {
      put_bytes(items.data(), items.size());
    } else {
      for (const T& item : items) put(item);
    }
  }

  template <typename T, std::size_t N>
  void put(const std::array<T, N>& items) {
    for (const T& item : items) put(item);
  }

  template <typename T>
  void put(const std::optional<T>& item) {
    put(item.has_value());
    if (item) put(*item);
  }

  template <Struct T>
  void put(const T& message) {
    T::fields(message, [this](const auto&... field) { (put(field), ...); });
  }

 private:
  Bytes out_;
};

class Decoder {
 public:
  explicit Decoder(std::span<const std::byte> in) : in_(in) {}

  bool ok() const { return ok_; }
  std::size_t remaining() const { return in_.size(); }

  template <Scalar T>
  void get(T& value) {
    if constexpr (std::is_enum_v<T>) {
      std::underlying_type_t<T> raw{};
      get(raw);
      value = static_cast<T>(raw);
    } else if constexpr (std::is_same_v<T, bool>) {
      std::uint8_t raw = 0;
      get(raw);
      if (raw > 1) ok_ = false;
      value = raw == 1;
    } else {
      std::byte raw[sizeof(T)];
      if (!take(raw, sizeof raw)) return;
      std::make_unsigned_t<T> bits = 0;
      for (std::size_t i = 0; i < sizeof(T); ++i)
        bits = static_cast<std::make_unsigned_t<T>>(
            bits | static_cast<std::make_unsigned_t<T>>(std::to_integer<std::uint64_t>(raw[i])
                                                        << (8 * i)));
      value = static_cast<T>(bits);
    }
  }

  void get(std::string& text) {
    const std::size_t size = get_count(1);
    text.assign(reinterpret_cast<const char*>(in_.data()), size);
    in_ = in_.subspan(size);
  }

  template <typename T>
  void get(std::vector<T>& items) {
    const std::size_t count = get_count(1);
    items.clear();
    if constexpr (std::is_same_v<T, std::byte>) {
      items.assign(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(count));
      in_ = in_.subspan(count);
    } else {
      // No reserve(count): a hostile count costs nothing before its bytes are seen.
      for (std::size_t i = 0; i < count && ok_; ++i) get(items.emplace_back());
    }
  }

  template <typename T, std::size_t N>
  void get(std::array<T, N>& items) {
    for (T& item : items) get(item);
  }

  template <typename T>
  void get(std::optional<T>& item) {
    bool present = false;
    get(present);
    item.reset();
    if (present && ok_) get(item.emplace());
  }

  template <Struct T>
  void get(T& message) {
    T::fields(message, [this](auto&... field) { (get(field), ...); });
  }

 private:
  bool take(std::byte* out, std::size_t size) {
    if (!ok_ || in_.size() < size) {
      ok_ = false;
      std::memset(out, 0, size);
      return false;
    }
    std::memcpy(out, in_.data(), size);
    in_ = in_.subspan(size);
    return true;
  }

  /// A u32 count of items that take at least `least` bytes each; 0 and !ok() if that cannot be.
  std::size_t get_count(std::size_t least) {
    std::uint32_t count = 0;
    get(count);
    if (!ok_ || count > in_.size() / least) {
      ok_ = false;
      return 0;
    }
    return count;
  }

  std::span<const std::byte> in_;
  bool ok_ = true;
};

/// The payload of `message`, without a frame header.
template <typename M>
Bytes encode(const M& message) {
  Encoder encoder;
  encoder.put(message);
  return std::move(encoder).take();
}

/// The message in `payload`; kDataLoss if it is cut short, too long, or has a bad value.
template <typename M>
base::Result<M> decode(std::span<const std::byte> payload) {
  M message{};
  Decoder decoder(payload);
  decoder.get(message);
  if (!decoder.ok() || decoder.remaining() != 0)
    return base::Error{base::Code::kDataLoss, "malformed message"};
  return message;
}

/// One frame (header and payload), ready to be written to a stream.
template <typename M>
Bytes frame(const M& message) {
  Encoder encoder;
  const Bytes payload = encode(message);
  encoder.put(static_cast<std::uint32_t>(payload.size()));
  encoder.put(static_cast<std::uint16_t>(M::kType));
  encoder.put_bytes(payload.data(), payload.size());
  return std::move(encoder).take();
}

/// A frame as it was received: its type may be one that no message has.
struct RawFrame {
  std::uint16_t type = 0;
  Bytes payload;
};

/// Cuts a byte stream into frames. Holds at most one frame's bytes plus what was just fed.
class FrameReader {
 public:
  void feed(std::span<const std::byte> bytes) {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
  }

  /// The next whole frame; nullopt if more bytes are needed; kDataLoss if the frame says that it is
  /// longer than kMaxFrameSize.
  base::Result<std::optional<RawFrame>> next() {
    if (buffer_.size() < kFrameHeaderSize) return std::optional<RawFrame>();
    Decoder header(std::span<const std::byte>(buffer_).first(kFrameHeaderSize));
    std::uint32_t length = 0;
    RawFrame result;
    header.get(length);
    header.get(result.type);
    if (length > kMaxFrameSize - kFrameHeaderSize)
      return base::Error{base::Code::kDataLoss, "a frame is longer than 4 MiB"};
    if (buffer_.size() - kFrameHeaderSize < length) return std::optional<RawFrame>();
    const auto first = buffer_.begin() + kFrameHeaderSize;
    result.payload.assign(first, first + static_cast<std::ptrdiff_t>(length));
    buffer_.erase(buffer_.begin(), first + static_cast<std::ptrdiff_t>(length));
    return std::optional<RawFrame>(std::move(result));
  }

  /// Bytes fed but not yet returned: raw data that followed the last frame of a handshake.
  Bytes take_rest() { return std::exchange(buffer_, {}); }

 private:
  Bytes buffer_;
};

}  // namespace wire
