// What a containervm-fileserver process is told, and by whom: the wire between it, the daemon and
// the monitor. There is one such process for each machine that has shared directories.
//
// It is started with two descriptors, beside 0, 1 and 2:
//   kSessionDescriptor  AF_UNIX SOCK_STREAM to the monitor: FUSE (linux/fuse.h), as below.
//   kControlDescriptor  a listening AF_UNIX SOCK_SEQPACKET socket for the daemon: one message per
//                       packet, u16 type, payload (wire.h); descriptors travel beside their packet
//                       (SCM_RIGHTS). It serves one connection at a time; a newer one replaces the
//                       older. Losing the connection stops nothing.
//
// A third one is taken if it is there:
//   kNetworkDescriptor  an empty network namespace to join, instead of making one, which takes
//                       milliseconds.
//
// The session. The monitor writes the guest's requests one after the other. Each is as long as its
// fuse_in_header.len says, which is kLeastRequest to kMostRequest bytes and what the guest's chain
// holds; the server ends if it is not in these bounds. `unique` is a number of the monitor's own,
// which it does not use twice at a time. The server writes whole answers, in any order, each as
// long as its fuse_out_header.len says, at most kMostAnswer bytes. Each request gets exactly one
// answer, but for FORGET, BATCH_FORGET and INTERRUPT, which never get one. An answer may be longer
// than the room of the guest's chain: the monitor checks that. The monitor takes answers while it
// writes, else both may wait for each other. At the end of the stream the server exits with 0.
//
// INIT may come again: it begins with no nodes, handles and locks, as after DESTROY. The trees
// stay.
//
// The guest sees a root directory that is no directory of the host. Its entries are the numbers of
// the trees in decimal; it can be looked at and listed, and nothing else.
//
// Trust: the server trusts the daemon's messages. It does not trust a byte of a request; the daemon
// and the monitor trust nothing that the server says, as a guest may have taken it over.
// Spec: fuse(4), linux/fuse.h (7.31 is what the server says that it speaks).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "vmm/base/wire.h"

namespace launch::file_server {

inline constexpr std::uint32_t kVersion = 2;
inline constexpr int kSessionDescriptor = 3;
inline constexpr int kControlDescriptor = 4;
inline constexpr int kNetworkDescriptor = 5;

/// In bytes, headers included. Reads and writes carry at most 1 MiB of data.
inline constexpr std::size_t kLeastRequest = 40;  // fuse_in_header
inline constexpr std::size_t kMostRequest = (1u << 20) + 4096;
inline constexpr std::size_t kMostAnswer = (1u << 20) + 4096;

inline constexpr std::size_t kMaxPacket = 4096;
inline constexpr std::size_t kMaxDescriptors = 1;
inline constexpr std::size_t kMostTrees = 128;

enum class MessageType : std::uint16_t {
  // daemon -> server
  kAddTree = 1,
  kRemoveTrees = 2,
  kInterruptLocks = 3,
  // server -> daemon
  kStatus = 64,
  kDone = 65,
  kFailed = 66,
};

/// How long a guest may believe what it was told of a tree.
enum class Caching : std::uint8_t {
  kStrict = 0,   // not at all, but for a directory's attributes: those for a second
  kRelaxed = 1,  // for a second; a file's pages until a new time or size is seen
};

/// Shows a tree to the guest. Descriptor: a directory or a regular file, opened with O_PATH; what
/// else it is gives kInvalidArgument. In a host it is a mount that is attached nowhere
/// (open_tree(2) with OPEN_TREE_CLONE), so that nothing above it can be named. `read_only` refuses
/// changes whatever the mount allows. kAlreadyExists: the number is taken; kResourceExhausted:
/// there are kMostTrees, or no descriptors left.
struct AddTree {
  static constexpr MessageType kType = MessageType::kAddTree;
  std::uint32_t request = 0;
  std::uint32_t number = 0;
  bool read_only = false;
  Caching caching = Caching::kStrict;
  static void fields(auto& self, auto&& visit) {
    visit(self.request, self.number, self.read_only, self.caching);
  }
};

/// Takes away the trees with numbers in [begin, end), as many as there are. Nothing of them is
/// begun any more when the answer comes: requests for them fail with ESTALE (EBADF, if they name a
/// handle), and what waits for their locks with EINTR. Their descriptors are closed as soon as the
/// requests that use them at that moment have ended.
struct RemoveTrees {
  static constexpr MessageType kType = MessageType::kRemoveTrees;
  std::uint32_t request = 0;
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request, self.begin, self.end); }
};

/// Fails everything that waits for a lock with EINTR. Processes of a guest wait for the server's
/// answers unkillably, so whoever wants to end them asks for this.
struct InterruptLocks {
  static constexpr MessageType kType = MessageType::kInterruptLocks;
  std::uint32_t request = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request); }
};

/// server -> daemon: the first message on every control connection.
struct Status {
  static constexpr MessageType kType = MessageType::kStatus;
  std::uint32_t version = kVersion;
  static void fields(auto& self, auto&& visit) { visit(self.version); }
};

/// server -> daemon: `request` has been done.
struct Done {
  static constexpr MessageType kType = MessageType::kDone;
  std::uint32_t request = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request); }
};

/// server -> daemon: `request` could not be done.
struct Failed {
  static constexpr MessageType kType = MessageType::kFailed;
  std::uint32_t request = 0;
  std::uint8_t code = 0;  // base::Code
  std::string message;
  static void fields(auto& self, auto&& visit) { visit(self.request, self.code, self.message); }
};

}  // namespace launch::file_server
