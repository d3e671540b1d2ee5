#include "vmm/fileserver/testing/fuse_client.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <utility>

namespace fileserver {
namespace {

constexpr Reply kEnded{.error = -1, .body = {}};

bool receive_all(int socket, void* out, std::size_t size) {
  return size == 0 || ::recv(socket, out, size, MSG_WAITALL) == static_cast<ssize_t>(size);
}

fuse_read_in range_of(std::uint64_t handle, std::uint64_t offset, std::uint32_t size) {
  fuse_read_in in{};
  in.fh = handle;
  in.offset = offset;
  in.size = size;
  return in;
}

/// Cuts a listing into its entries; returns where to go on.
std::uint64_t take_entries(const Reply& reply, bool plus, std::vector<Listed>& listed) {
  const std::size_t before = plus ? sizeof(fuse_entry_out) : 0;
  std::uint64_t next = 0;
  for (std::size_t at = 0; at + before + sizeof(fuse_dirent) <= reply.body.size();) {
    const auto entry = reply.as<fuse_entry_out>(at);
    const auto name = reply.as<fuse_dirent>(at + before);
    listed.push_back({reply.text().substr(at + before + sizeof name, name.namelen), name.ino,
                      name.type, plus ? entry.nodeid : 0});
    next = name.off;
    at += (before + sizeof name + name.namelen + 7) / 8 * 8;
  }
  return next;
}

}  // namespace

RawBytes request_bytes(std::uint32_t opcode, std::uint64_t node, const Payload& payload,
                       std::uint64_t unique, uid_t uid, gid_t gid) {
  fuse_in_header header{};
  header.len = static_cast<std::uint32_t>(sizeof header + payload.bytes().size());
  header.opcode = opcode;
  header.unique = unique;
  header.nodeid = node;
  header.uid = uid;
  header.gid = gid;
  Payload whole;
  whole.add(header);
  RawBytes bytes = whole.bytes();
  bytes.insert(bytes.end(), payload.bytes().begin(), payload.bytes().end());
  return bytes;
}

void FuseClient::send_raw(const RawBytes& bytes) {
  for (std::size_t sent = 0; sent < bytes.size();) {
    const ssize_t more =
        ::send(socket_.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (more < 0) return;  // the answer will be missing
    sent += static_cast<std::size_t>(more);
  }
}

std::uint64_t FuseClient::send(std::uint32_t opcode, std::uint64_t node, const Payload& payload) {
  send_raw(request_bytes(opcode, node, payload, ++last_, uid_, gid_));
  return last_;
}

Reply FuseClient::receive_next(std::uint64_t& number) {
  fuse_out_header header{};
  if (!receive_all(socket_.get(), &header, sizeof header)) return kEnded;
  number = header.unique;
  Reply reply{-header.error, RawBytes(header.len - sizeof header)};
  if (!receive_all(socket_.get(), reply.body.data(), reply.body.size())) return kEnded;
  return reply;
}

Reply FuseClient::receive(std::uint64_t number) {
  for (;;) {
    if (auto kept = kept_.extract(number)) return std::move(kept.mapped());
    std::uint64_t found = 0;
    Reply reply = receive_next(found);
    if (reply.error < 0 || found == number) return reply;
    kept_.emplace(found, std::move(reply));
  }
}

Reply FuseClient::receive_any() {
  if (!kept_.empty()) return std::move(kept_.extract(kept_.begin()).mapped());
  std::uint64_t number = 0;
  return receive_next(number);
}

Reply FuseClient::call(std::uint32_t opcode, std::uint64_t node, const Payload& payload) {
  return receive(send(opcode, node, payload));
}

Reply FuseClient::init() {
  fuse_init_in in{};
  in.major = 7;
  in.minor = 41;
  in.max_readahead = 128 << 10;
  in.flags = ~0u;
  in.flags2 = ~0u;
  return call(FUSE_INIT, 0, Payload().add(in));
}

Reply FuseClient::look_up(std::uint64_t parent, std::string_view name) {
  return call(FUSE_LOOKUP, parent, Payload().add_name(name));
}

std::uint64_t FuseClient::walk(std::uint64_t node, std::string_view path) {
  while (!path.empty()) {
    const std::size_t end = std::min(path.find('/'), path.size());
    const Reply found = look_up(node, path.substr(0, end));
    if (found.error != 0) return 0;
    node = found.as<fuse_entry_out>().nodeid;
    path.remove_prefix(std::min(end + 1, path.size()));
  }
  return node;
}

void FuseClient::forget(std::uint64_t node, std::uint64_t lookups) {
  send(FUSE_FORGET, node, Payload().add(fuse_forget_in{lookups}));
}

Reply FuseClient::attributes(std::uint64_t node) {
  return call(FUSE_GETATTR, node, Payload().add(fuse_getattr_in{}));
}

Reply FuseClient::change(std::uint64_t node, const fuse_setattr_in& in) {
  return call(FUSE_SETATTR, node, Payload().add(in));
}

Reply FuseClient::make_directory(std::uint64_t parent, std::string_view name, std::uint32_t mode) {
  return call(FUSE_MKDIR, parent, Payload().add(fuse_mkdir_in{mode, umask_}).add_name(name));
}

Reply FuseClient::make_node(std::uint64_t parent, std::string_view name, std::uint32_t mode,
                            std::uint32_t device) {
  return call(FUSE_MKNOD, parent,
              Payload().add(fuse_mknod_in{mode, device, umask_, 0}).add_name(name));
}

Reply FuseClient::make_link(std::uint64_t parent, std::string_view name, std::string_view target) {
  return call(FUSE_SYMLINK, parent, Payload().add_name(name).add_name(target));
}

Reply FuseClient::link(std::uint64_t node, std::uint64_t parent, std::string_view name) {
  return call(FUSE_LINK, parent, Payload().add(fuse_link_in{node}).add_name(name));
}

Reply FuseClient::remove(std::uint64_t parent, std::string_view name) {
  return call(FUSE_UNLINK, parent, Payload().add_name(name));
}

Reply FuseClient::remove_directory(std::uint64_t parent, std::string_view name) {
  return call(FUSE_RMDIR, parent, Payload().add_name(name));
}

Reply FuseClient::rename(std::uint64_t parent, std::string_view name, std::uint64_t new_parent,
                         std::string_view new_name, std::uint32_t flags) {
  return call(
      FUSE_RENAME2, parent,
      Payload().add(fuse_rename2_in{new_parent, flags, 0}).add_name(name).add_name(new_name));
}

Reply FuseClient::create(std::uint64_t parent, std::string_view name, std::uint32_t flags,
                         std::uint32_t mode) {
  const fuse_create_in in{flags | O_CREAT, mode, umask_, 0};
  return call(FUSE_CREATE, parent, Payload().add(in).add_name(name));
}

Reply FuseClient::open(std::uint64_t node, std::uint32_t flags) {
  return call(FUSE_OPEN, node, Payload().add(fuse_open_in{flags, 0}));
}

std::uint64_t FuseClient::handle(std::uint64_t node, std::uint32_t flags) {
  return open(node, flags).as<fuse_open_out>().fh;
}

Reply FuseClient::read(std::uint64_t node, std::uint64_t handle, std::uint64_t offset,
                       std::uint32_t size) {
  return call(FUSE_READ, node, Payload().add(range_of(handle, offset, size)));
}

Reply FuseClient::write(std::uint64_t node, std::uint64_t handle, std::uint64_t offset,
                        std::string_view data, std::uint32_t flags, std::uint32_t write_flags) {
  fuse_write_in in{};
  in.fh = handle;
  in.offset = offset;
  in.size = static_cast<std::uint32_t>(data.size());
  in.flags = flags;
  in.write_flags = write_flags;
  return call(FUSE_WRITE, node, Payload().add(in).add_data(data));
}

Reply FuseClient::flush(std::uint64_t node, std::uint64_t handle, std::uint64_t owner) {
  return call(FUSE_FLUSH, node, Payload().add(fuse_flush_in{handle, 0, 0, owner}));
}

Reply FuseClient::release(std::uint64_t node, std::uint64_t handle) {
  fuse_release_in in{};
  in.fh = handle;
  return call(FUSE_RELEASE, node, Payload().add(in));
}

Reply FuseClient::open_directory(std::uint64_t node) {
  return call(FUSE_OPENDIR, node, Payload().add(fuse_open_in{}));
}

Reply FuseClient::set_attribute(std::uint64_t node, std::string_view name, std::string_view value) {
  const auto size = static_cast<std::uint32_t>(value.size());
  return call(FUSE_SETXATTR, node,
              Payload().add(size).add(std::uint32_t{0}).add_name(name).add_data(value));
}

Reply FuseClient::attribute(std::uint64_t node, std::string_view name, std::uint32_t size) {
  return call(FUSE_GETXATTR, node, Payload().add(fuse_getxattr_in{size, 0}).add_name(name));
}

Reply FuseClient::attribute_list(std::uint64_t node, std::uint32_t size) {
  return call(FUSE_LISTXATTR, node, Payload().add(fuse_getxattr_in{size, 0}));
}

Reply FuseClient::remove_attribute(std::uint64_t node, std::string_view name) {
  return call(FUSE_REMOVEXATTR, node, Payload().add_name(name));
}

fuse_lk_in FuseClient::lock_of(std::uint64_t handle, std::uint64_t owner, std::uint32_t type,
                               std::uint64_t start, std::uint64_t end) {
  fuse_lk_in in{};
  in.fh = handle;
  in.owner = owner;
  in.lk = {start, end, type, 1};
  return in;
}

Reply FuseClient::lock(std::uint64_t node, const fuse_lk_in& in, std::uint32_t opcode) {
  return call(opcode, node, Payload().add(in));
}

std::vector<Listed> FuseClient::list(std::uint64_t node, bool plus, std::uint32_t size) {
  const std::uint64_t handle = open_directory(node).as<fuse_open_out>().fh;
  std::vector<Listed> listed;
  for (std::uint64_t next = 0;;) {
    const Reply reply = call(plus ? FUSE_READDIRPLUS : FUSE_READDIR, node,
                             Payload().add(range_of(handle, next, size)));
    if (reply.error != 0 || reply.body.empty()) break;
    next = take_entries(reply, plus, listed);
  }
  fuse_release_in in{};
  in.fh = handle;
  call(FUSE_RELEASEDIR, node, Payload().add(in));
  return listed;
}

}  // namespace fileserver
