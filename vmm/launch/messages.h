// The control protocol between the daemon and one containervm-vmm process.
//
// Transport: AF_UNIX SOCK_SEQPACKET, one message per packet: u16 type, payload (wire.h).
// Descriptors travel beside their packet (SCM_RIGHTS) in the order named here. The vmm is started
// with a listening socket and serves one control connection at a time; a newer one replaces the
// older, so a restarted daemon can go on. Losing the connection stops nothing.
//
// The vmm opens nothing itself: /dev/kvm comes as an inherited descriptor, all else in these
// messages.
//
// Order: BootMachine or RestoreMachine, then any Attach*, OpenStream, AdoptStream, then Run. All
// may be sent without waiting; each is answered by Done or Failed. After a failure in set-up the
// machine cannot be run; the daemon kills the process.
//
// Trust: the vmm trusts the daemon's messages. The daemon does not trust the vmm's: a guest may
// have taken it over.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "vmm/base/wire.h"

namespace launch {

inline constexpr std::uint32_t kVersion = 4;
inline constexpr std::size_t kMaxPacket = 64u << 10;
inline constexpr std::size_t kMaxDescriptors = 160;

enum class MessageType : std::uint16_t {
  // daemon -> vmm
  kBootMachine = 1,
  kRestoreMachine = 2,
  kAttachLayers = 3,
  kAttachDisk = 4,
  kAttachNetwork = 5,
  kOpenStream = 6,
  kAdoptStream = 7,
  kRun = 8,
  kSaveTemplate = 9,
  kStop = 10,
  // vmm -> daemon
  kStatus = 64,
  kDone = 65,
  kFailed = 66,
  kSaved = 67,
  kStopped = 68,
};

/// Every machine has a window of this size into host files: what layers hold is mapped there, so
/// all machines read the same pages of the host's page cache. The guest's kernel keeps a 64th of it
/// in descriptions of its pages; the monitor gives it that much RAM beside Shape::memory_bytes.
inline constexpr std::uint64_t kLayersWindowBytes = std::uint64_t{1} << 30;
inline constexpr std::uint64_t kWindowPage = 4096;

/// The writable disk's capacity: of what is attached to it all must be inside.
inline constexpr std::uint64_t kWritableDiskBytes = std::uint64_t{64} << 40;

/// What a machine is made of. Part of a template's identity: a clone has the shape of its template.
struct Shape {
  std::uint32_t vcpus = 1;
  std::uint64_t memory_bytes = 0;  // multiple of 2 MiB
  /// Cards that AttachNetwork can connect; the guest sees all of them from its boot on.
  std::uint32_t network_cards = 1;
  friend bool operator==(const Shape&, const Shape&) = default;
  static void fields(auto& self, auto&& visit) {
    visit(self.vcpus, self.memory_bytes, self.network_cards);
  }
};

/// Descriptors: kernel (uncompressed vmlinux ELF), initramfs (cpio). Set up a machine to boot. The
/// kernel needs its relocations in a section .relocs, as its layout becomes random, unless
/// "nokaslr" is on the command line.
struct BootMachine {
  static constexpr MessageType kType = MessageType::kBootMachine;
  std::uint32_t request = 0;
  Shape shape;
  std::string command_line;  // appended to the monitor's own
  static void fields(auto& self, auto&& visit) {
    visit(self.request, self.shape, self.command_line);
  }
};

/// Descriptors: memory file, state file of a template. Set up a clone of it. `shape` must be the
/// template's: the state file is checked against it and against this monitor's state version.
struct RestoreMachine {
  static constexpr MessageType kType = MessageType::kRestoreMachine;
  std::uint32_t request = 0;
  Shape shape;
  static void fields(auto& self, auto&& visit) { visit(self.request, self.shape); }
};

/// Descriptors: one per layer, files opened for reading that nobody changes any more: one that is
/// made shorter ends the machines that read what it lost. Each layer appears in the layers window
/// or on the layers disk at its offset there (2 MiB aligned, ascending, not overlapping); reads
/// between them return zeros.
struct AttachLayers {
  static constexpr MessageType kType = MessageType::kAttachLayers;
  struct Extent {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;  // multiple of 512; in the window of kWindowPage, and all in the file
    bool in_window = false;
    static void fields(auto& self, auto&& visit) {
      visit(self.offset, self.length, self.in_window);
    }
  };
  std::uint32_t request = 0;
  std::vector<Extent> extents;
  static void fields(auto& self, auto&& visit) { visit(self.request, self.extents); }
};

/// Descriptors: one per extent, raw files opened read-write that no other machine uses meanwhile:
/// the container's own first, at 0, then its volumes. Each appears on the writable disk at its
/// offset (2 MiB aligned, ascending, not overlapping). A request that is not inside of one of them
/// fails. kNotFound: the machine has no writable disk `slot`; today each has one, 0.
struct AttachDisk {
  static constexpr MessageType kType = MessageType::kAttachDisk;
  struct Extent {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;  // multiple of 512
    static void fields(auto& self, auto&& visit) { visit(self.offset, self.length); }
  };
  std::uint32_t request = 0;
  std::uint32_t slot = 0;
  std::vector<Extent> extents;
  static void fields(auto& self, auto&& visit) { visit(self.request, self.slot, self.extents); }
};

/// Descriptor: a tap (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR), for the network card `slot`, which the
/// guest calls eth<slot>. Frames whose source is not `mac` are dropped. kNotFound: the machine's
/// shape has no such card.
struct AttachNetwork {
  static constexpr MessageType kType = MessageType::kAttachNetwork;
  std::uint32_t request = 0;
  std::uint32_t slot = 0;
  std::array<std::uint8_t, 6> mac{};
  static void fields(auto& self, auto&& visit) { visit(self.request, self.slot, self.mac); }
};

/// Descriptor: one end of a stream socket pair. The vmm connects it to `guest_port` over vsock; it
/// is closed if the guest refuses. `tag` names it in Saved and AdoptStream.
struct OpenStream {
  static constexpr MessageType kType = MessageType::kOpenStream;
  std::uint32_t request = 0;
  std::uint32_t guest_port = 0;
  std::uint32_t tag = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request, self.guest_port, self.tag); }
};

/// Descriptor: a stream socket. It takes over the connection that was open, under `tag`, when the
/// template was saved: no handshake with the guest is needed.
struct AdoptStream {
  static constexpr MessageType kType = MessageType::kAdoptStream;
  std::uint32_t request = 0;
  std::uint32_t tag = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request, self.tag); }
};

/// Let the vCPUs run. Answered when they do. From then on nothing can be attached (kConflict), and
/// the monitor cannot make another machine.
struct Run {
  static constexpr MessageType kType = MessageType::kRun;
  std::uint32_t request = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request); }
};

/// Descriptors: memory file, state file, both empty and writable. Pauses the machine, writes both,
/// answers Saved and leaves the machine paused (Stop it). Only a machine that was booted, before
/// anything of a tenant ran in it.
struct SaveTemplate {
  static constexpr MessageType kType = MessageType::kSaveTemplate;
  std::uint32_t request = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request); }
};

/// End the machine at once (as pulling its plug). Answered by Stopped, then the process exits.
struct Stop {
  static constexpr MessageType kType = MessageType::kStop;
  std::uint32_t request = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request); }
};

/// vmm -> daemon, first on every control connection.
struct Status {
  static constexpr MessageType kType = MessageType::kStatus;
  std::uint32_t version = kVersion;
  bool running = false;
  std::uint64_t guest_faults = 0;  // bad rings and the like, so far
  static void fields(auto& self, auto&& visit) {
    visit(self.version, self.running, self.guest_faults);
  }
};

struct Done {
  static constexpr MessageType kType = MessageType::kDone;
  std::uint32_t request = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request); }
};

struct Failed {
  static constexpr MessageType kType = MessageType::kFailed;
  std::uint32_t request = 0;
  std::uint8_t code = 0;  // base::Code
  std::string message;
  static void fields(auto& self, auto&& visit) { visit(self.request, self.code, self.message); }
};

/// The answer to SaveTemplate.
struct Saved {
  static constexpr MessageType kType = MessageType::kSaved;
  std::uint32_t request = 0;
  std::uint64_t resident_bytes = 0;    // of the memory file, without its holes
  std::vector<std::uint32_t> streams;  // tags that AdoptStream can take over
  static void fields(auto& self, auto&& visit) {
    visit(self.request, self.resident_bytes, self.streams);
  }
};

enum class StopReason : std::uint8_t {
  kHostRequest = 0,    // Stop
  kGuestShutdown = 1,  // the guest powered off or rebooted in order
  kGuestPanic = 2,     // the kernel said "Kernel panic" and reset
  kTripleFault = 3,    // reset without a word
  kMonitorError = 4,   // KVM_RUN failed, an emulation or internal error
};

/// vmm -> daemon, last: the machine has ended. The process exits after it.
struct Stopped {
  static constexpr MessageType kType = MessageType::kStopped;
  StopReason reason = StopReason::kHostRequest;
  std::string message;       // a sentence
  std::string console_tail;  // the last lines of the guest's console, at most 4 KiB, any bytes
  static void fields(auto& self, auto&& visit) {
    visit(self.reason, self.message, self.console_tail);
  }
};

}  // namespace launch
