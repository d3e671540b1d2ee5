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
// machine cannot be run; the daemon kills the process. A machine that runs still takes OpenStream,
// AdoptStream, AttachFileServer, DetachNetwork, and files for its disks: wait for the answer before
// telling the guest of them.
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

inline constexpr std::uint32_t kVersion = 7;
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
  kDetachLayers = 11,
  kDetachDisk = 12,
  kAttachFileServer = 13,
  kDetachNetwork = 14,
  // vmm -> daemon
  kStatus = 64,
  kDone = 65,
  kFailed = 66,
  kSaved = 67,
  kStopped = 68,
};

/// The size in bytes of the layers window, which every machine has: layers' files are mapped there,
/// so all machines read the same pages of the host's page cache. The guest's kernel keeps a 64th of
/// it in descriptions of its pages; the monitor gives the guest that much RAM beside
/// Shape::memory_bytes.
inline constexpr std::uint64_t kLayersWindowBytes = std::uint64_t{1} << 30;
inline constexpr std::uint64_t kWindowPage = 4096;

/// The capacity in bytes of the layers disk and of the writable disk; all that is attached must lie
/// inside. Nothing is that large: it leaves each of a machine's containers a part of its own, in
/// which its files come and go while those of others stay.
inline constexpr std::uint64_t kDiskBytes = std::uint64_t{1} << 53;

/// A machine's slots for devices leave room for so many.
inline constexpr std::uint32_t kMostNetworkCards = 8;

/// What a machine is made of. It is part of a template's identity: a clone has the shape of its
/// template.
struct Shape {
  std::uint32_t vcpus = 1;
  std::uint64_t memory_bytes = 0;  // multiple of 2 MiB
  /// How many cards AttachNetwork can connect. The guest sees all of them from its boot on, since
  /// none can be added; one that is not connected costs it a description, and the host a page.
  std::uint32_t network_cards = kMostNetworkCards;
  friend bool operator==(const Shape&, const Shape&) = default;
  static void fields(auto& self, auto&& visit) {
    visit(self.vcpus, self.memory_bytes, self.network_cards);
  }
};

/// Sets up a machine to boot. Descriptors: kernel (uncompressed vmlinux ELF), initramfs (cpio).
/// Since the kernel's addresses become random, it needs its relocations in a section .relocs,
/// unless "nokaslr" is on the command line.
struct BootMachine {
  static constexpr MessageType kType = MessageType::kBootMachine;
  std::uint32_t request = 0;
  Shape shape;
  std::string command_line;  // appended to the monitor's own
  static void fields(auto& self, auto&& visit) {
    visit(self.request, self.shape, self.command_line);
  }
};

/// Sets up a clone of a template. Descriptors: the template's memory file and state file. `shape`
/// must be the template's: the state file is checked against it, and against this monitor's state
/// version and build.
struct RestoreMachine {
  static constexpr MessageType kType = MessageType::kRestoreMachine;
  std::uint32_t request = 0;
  Shape shape;
  static void fields(auto& self, auto&& visit) { visit(self.request, self.shape); }
};

/// Shows layers to the guest. Descriptors: one per extent, files opened for reading that nobody
/// changes any more; a file that gets shorter ends the machines that read what it lost. Each layer
/// appears at its offset (2 MiB aligned, ascending, not overlapping each other nor what is there)
/// in the layers window, before Run only (else kConflict), or on the layers disk. Reads between
/// them return zeros.
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

/// Attaches files to a writable disk. Descriptors: one per extent, raw files opened read-write that
/// no other machine uses meanwhile: a container's own, and its volumes. Each appears at its offset
/// (2 MiB aligned, ascending, not overlapping each other nor what is there). A request
/// of the guest that is not inside of one of them fails. kNotFound: the machine has no writable
/// disk `slot`; a machine has one, number 0.
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

/// Takes away the layers that begin in [begin, end) of the layers disk. The guest should not use
/// them any more; what it still reads there gives zeros or fails. The answer comes when nothing
/// reads the files.
struct DetachLayers {
  static constexpr MessageType kType = MessageType::kDetachLayers;
  std::uint32_t request = 0;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;

  static void fields(auto& self, auto&& visit) { visit(self.request, self.begin, self.end); }
};

/// The same for the files of writable disk `slot`. What the guest still reads or writes there
/// fails.
struct DetachDisk {
  static constexpr MessageType kType = MessageType::kDetachDisk;
  std::uint32_t request = 0;
  std::uint32_t slot = 0;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;

  static void fields(auto& self, auto&& visit) {
    visit(self.request, self.slot, self.begin, self.end);
  }
};

/// Connects the network card `slot`, which the guest calls eth<slot>; kConflict if it is connected
/// already. Descriptor: a tap (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, with a header of 12 bytes:
/// TUNSETVNETHDRSZ). Frames of the guest whose source is not `mac` are dropped. kNotFound: the
/// machine's shape has no such card.
struct AttachNetwork {
  static constexpr MessageType kType = MessageType::kAttachNetwork;
  std::uint32_t request = 0;
  std::uint32_t slot = 0;
  std::array<std::uint8_t, 6> mac{};
  static void fields(auto& self, auto&& visit) { visit(self.request, self.slot, self.mac); }
};

/// Connects the device by which the guest has directories of the host, once (else kConflict).
/// Descriptor: a stream socket, on which a file server speaks FUSE (file_server.h). Before it
/// comes, and after the server's end, each request of the guest fails.
struct AttachFileServer {
  static constexpr MessageType kType = MessageType::kAttachFileServer;
  std::uint32_t request = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request); }
};

/// Disconnects the network card `slot`: what the guest sends is dropped, and its tap is closed when
/// the answer comes. It may be connected again. Nothing happens to a card that is not connected.
/// kNotFound as above.
struct DetachNetwork {
  static constexpr MessageType kType = MessageType::kDetachNetwork;
  std::uint32_t request = 0;
  std::uint32_t slot = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request, self.slot); }
};

/// Connects a socket to `guest_port` over vsock. Descriptor: one end of a stream socket pair, which
/// is closed if the guest refuses. `tag` names the connection in Saved and AdoptStream.
struct OpenStream {
  static constexpr MessageType kType = MessageType::kOpenStream;
  std::uint32_t request = 0;
  std::uint32_t guest_port = 0;
  std::uint32_t tag = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request, self.guest_port, self.tag); }
};

/// Gives a clone's connection its socket. Descriptor: a stream socket. It takes over the connection
/// that was open under `tag` when the template was saved, without a handshake with the guest.
struct AdoptStream {
  static constexpr MessageType kType = MessageType::kAdoptStream;
  std::uint32_t request = 0;
  std::uint32_t tag = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request, self.tag); }
};

/// Lets the vCPUs run; answered when they do. From then on the layers window stays as it is and no
/// network card is connected (kConflict), and the monitor cannot make another machine.
struct Run {
  static constexpr MessageType kType = MessageType::kRun;
  std::uint32_t request = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request); }
};

/// Saves the machine as a template. Descriptors: memory file, state file, both empty and writable.
/// The monitor lets a running guest settle, which takes seconds, pauses it, writes both files,
/// answers Saved and leaves the machine paused, to be stopped. Only for a machine that was booted,
/// and before anything of a tenant ran in it.
struct SaveTemplate {
  static constexpr MessageType kType = MessageType::kSaveTemplate;
  std::uint32_t request = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request); }
};

/// Ends the machine at once, as if its plug were pulled. Answered by Stopped; then the process
/// exits.
struct Stop {
  static constexpr MessageType kType = MessageType::kStop;
  std::uint32_t request = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request); }
};

/// vmm -> daemon: the first message on every control connection.
struct Status {
  static constexpr MessageType kType = MessageType::kStatus;
  std::uint32_t version = kVersion;
  bool running = false;
  std::uint64_t guest_faults = 0;  // how often the guest has broken a device's rules
  static void fields(auto& self, auto&& visit) {
    visit(self.version, self.running, self.guest_faults);
  }
};

/// vmm -> daemon: `request` has been done.
struct Done {
  static constexpr MessageType kType = MessageType::kDone;
  std::uint32_t request = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request); }
};

/// vmm -> daemon: `request` could not be done.
struct Failed {
  static constexpr MessageType kType = MessageType::kFailed;
  std::uint32_t request = 0;
  std::uint8_t code = 0;  // base::Code
  std::string message;
  static void fields(auto& self, auto&& visit) { visit(self.request, self.code, self.message); }
};

/// vmm -> daemon: SaveTemplate has been done.
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
  kTripleFault = 3,    // the processor shut down, with no word of the guest
  kMonitorError = 4,   // KVM_RUN failed, an emulation or internal error
};

/// vmm -> daemon: the machine has ended. This is the last message; the process exits after it.
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
