// rtnetlink requests, several per system call, and the kernel's answers.
#pragma once

#include <linux/netlink.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace guest_init {

/// Requests that the kernel carries out in order. Each asks for an acknowledgement.
class NetlinkBatch {
 public:
  /// Starts a request: its header and its fixed body (ifinfomsg, ifaddrmsg, rtmsg). `what` names it
  /// in errors.
  template <typename Body>
  void begin(std::uint16_t type, std::uint16_t flags, const Body& body, std::string what) {
    begin_raw(type, flags, &body, sizeof body, std::move(what));
  }
  /// Adds an attribute to the request begun last.
  template <typename T>
  requires std::is_trivially_copyable_v<T>
  void attribute(std::uint16_t type, const T& value) {
    attribute_bytes(type, std::as_bytes(std::span(&value, 1)));
  }
  /// With the zero byte that the kernel wants at its end.
  void text_attribute(std::uint16_t type, const std::string& text) {
    attribute_bytes(type, std::as_bytes(std::span(text.c_str(), text.size() + 1)));
  }

  std::span<const std::byte> bytes() const { return bytes_; }
  const std::vector<std::string>& requests() const { return requests_; }

 private:
  void begin_raw(std::uint16_t type, std::uint16_t flags, const void* body, std::size_t size,
                 std::string what);
  void attribute_bytes(std::uint16_t type, std::span<const std::byte> value);
  void append(const void* data, std::size_t size);
  void finish_length();

  std::vector<std::byte> bytes_;
  std::size_t current_ = 0;  // offset of the request begun last
  std::vector<std::string> requests_;
};

class NetlinkSocket {
 public:
  static base::Result<NetlinkSocket> open();

  /// Sends all requests at once and waits for their answers. The first refused one is the error.
  base::Result<void> carry_out(const NetlinkBatch& batch) const;

 private:
  base::UniqueFd fd_;
};

}  // namespace guest_init
