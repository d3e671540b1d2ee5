// For tests: a guest's kernel, as far as the file server sees one: raw FUSE requests on a socket.
//
// Threads: one. Ownership: the socket is the client's.
#pragma once

#include <linux/fuse.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/unique_fd.h"

namespace fileserver {

using RawBytes = std::vector<std::byte>;

/// What a request consists of: structs and strings one after the other, strings with their NUL.
class Payload {
 public:
  template <typename T>
  Payload& add(const T& part) {
    return add_bytes(&part, sizeof part);
  }
  Payload& add_name(std::string_view name) {
    add_bytes(name.data(), name.size());
    return add('\0');
  }
  Payload& add_data(std::string_view data) { return add_bytes(data.data(), data.size()); }

  const RawBytes& bytes() const { return bytes_; }

 private:
  Payload& add_bytes(const void* data, std::size_t size) {
    const auto* const first = static_cast<const std::byte*>(data);
    bytes_.insert(bytes_.end(), first, first + size);
    return *this;
  }

  RawBytes bytes_;
};

/// A whole request.
RawBytes request_bytes(std::uint32_t opcode, std::uint64_t node, const Payload& payload,
                       std::uint64_t unique = 1, uid_t uid = 0, gid_t gid = 0);

struct Reply {
  int error = 0;  // an errno, or 0
  RawBytes body;

  /// The body's beginning; zeros, if it is shorter.
  template <typename T>
  T as(std::size_t at = 0) const {
    T value{};
    if (body.size() >= at + sizeof value) std::memcpy(&value, body.data() + at, sizeof value);
    return value;
  }
  std::string text() const { return {reinterpret_cast<const char*>(body.data()), body.size()}; }
};

/// One entry of a listing.
struct Listed {
  std::string name;
  std::uint64_t inode = 0;
  std::uint32_t type = 0;  // DT_*
  std::uint64_t node = 0;  // of readdirplus
};

class FuseClient {
 public:
  explicit FuseClient(base::UniqueFd socket) : socket_(std::move(socket)) {}

  /// Who asks from now on.
  void become(uid_t uid, gid_t gid) { uid_ = uid, gid_ = gid; }
  void set_umask(std::uint32_t umask) { umask_ = umask; }

  /// Sends a request; returns its number.
  std::uint64_t send(std::uint32_t opcode, std::uint64_t node, const Payload& payload = {});
  void send_raw(const RawBytes& bytes);
  /// Its answer, whenever it comes. Others that come before are kept. The error is -1 when the
  /// stream has ended.
  Reply receive(std::uint64_t number);
  /// The next answer that comes, to whatever it is.
  Reply receive_any();
  Reply call(std::uint32_t opcode, std::uint64_t node, const Payload& payload = {});
  void hang_up() { socket_.reset(); }

  Reply init();
  Reply look_up(std::uint64_t parent, std::string_view name);
  /// The node of a path below `node`; 0 if it is not there.
  std::uint64_t walk(std::uint64_t node, std::string_view path);
  void forget(std::uint64_t node, std::uint64_t lookups);
  Reply attributes(std::uint64_t node);
  std::uint32_t mode(std::uint64_t node) { return attributes(node).as<fuse_attr_out>().attr.mode; }
  Reply change(std::uint64_t node, const fuse_setattr_in& in);
  Reply make_directory(std::uint64_t parent, std::string_view name, std::uint32_t mode = 0755);
  Reply make_node(std::uint64_t parent, std::string_view name, std::uint32_t mode,
                  std::uint32_t device = 0);
  Reply make_link(std::uint64_t parent, std::string_view name, std::string_view target);
  Reply link(std::uint64_t node, std::uint64_t parent, std::string_view name);
  Reply remove(std::uint64_t parent, std::string_view name);
  Reply remove_directory(std::uint64_t parent, std::string_view name);
  Reply rename(std::uint64_t parent, std::string_view name, std::uint64_t new_parent,
               std::string_view new_name, std::uint32_t flags = 0);
  Reply create(std::uint64_t parent, std::string_view name, std::uint32_t flags,
               std::uint32_t mode = 0644);
  Reply open(std::uint64_t node, std::uint32_t flags);
  /// The handle, which the test needs.
  std::uint64_t handle(std::uint64_t node, std::uint32_t flags);
  Reply read(std::uint64_t node, std::uint64_t handle, std::uint64_t offset, std::uint32_t size);
  Reply write(std::uint64_t node, std::uint64_t handle, std::uint64_t offset, std::string_view data,
              std::uint32_t flags = 0, std::uint32_t write_flags = 0);
  Reply flush(std::uint64_t node, std::uint64_t handle, std::uint64_t owner = 0);
  Reply release(std::uint64_t node, std::uint64_t handle);
  Reply open_directory(std::uint64_t node);
  Reply set_attribute(std::uint64_t node, std::string_view name, std::string_view value);
  Reply attribute(std::uint64_t node, std::string_view name, std::uint32_t size = 1024);
  Reply attribute_list(std::uint64_t node, std::uint32_t size = 1024);
  Reply remove_attribute(std::uint64_t node, std::string_view name);
  /// A record lock of bytes from `start` to `end`.
  static fuse_lk_in lock_of(std::uint64_t handle, std::uint64_t owner, std::uint32_t type,
                            std::uint64_t start = 0, std::uint64_t end = INT64_MAX);
  Reply lock(std::uint64_t node, const fuse_lk_in& in, std::uint32_t opcode = FUSE_SETLK);

  /// All of a directory, `size` bytes at a time. Each entry of readdirplus is a lookup.
  std::vector<Listed> list(std::uint64_t node, bool plus, std::uint32_t size = 4096);

 private:
  Reply receive_next(std::uint64_t& number);

  base::UniqueFd socket_;
  std::uint64_t last_ = 0;
  uid_t uid_ = 0;
  gid_t gid_ = 0;
  std::uint32_t umask_ = 0;
  std::map<std::uint64_t, Reply> kept_;
};

}  // namespace fileserver
