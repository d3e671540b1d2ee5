// The protocol of a connection to the agent inside the emulated machine.
//
// A connection carries, from the host: the 32 bytes of the machine's token, then one request frame
// (wire.h). The agent answers Ready or Refused. After Ready:
//   OpenUnix     both directions carry the raw bytes of the unix socket; half-close passes through.
//   StartExec    frames follow: Data, Close and Credit for each stream, Resize and Signal to the
//                process, and at the end Exited.
//   PowerOff     nothing follows; the machine goes down.
//   Ping         nothing follows.
//   OpenTcp      as OpenUnix, with a TCP connection.
//   OpenUdp      Datagram frames follow in both directions, and DatagramCredit from the agent,
//   until
//                the host closes the connection.
//   Abandon      nothing follows; the connection of that name has ended.
//   WatchFile    FileText frames follow, until either side closes the connection.
//
// Flow control of StartExec: a sender may have kWindow bytes of a stream on the way; the receiver
// returns Credit for what it has passed on. Control frames are therefore never stuck behind data
// that nobody reads. Close from a stream's sender is its end of file; from its receiver it says
// that nobody will read any more.
//
// Flow control of OpenUdp: the host may have kWindow bytes of Datagram frames on the way. The agent
// may send as the stream takes them: the host reads on and throws away what its own peer does not
// take.
//
// Trust: whoever has the token is root in the machine. Both sides still check all they receive; the
// host side treats the machine as hostile, since it runs guests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vmm/base/wire.h"

namespace emulated {

inline constexpr std::size_t kTokenSize = 32;
inline constexpr std::uint16_t kAgentPort = 7001;  // inside the machine; outside it is ephemeral
// Half of the buffer of 128 KiB that QEMU has for a connection: QEMU's user network (libslirp 4.7)
// aborts QEMU if a connection is closed or fails while that buffer is full.
inline constexpr std::size_t kWindow = 64u << 10;
inline constexpr std::size_t kMaxChunk = 32u << 10;
inline constexpr std::size_t kMaxWatched = 256u << 10;
// What IPv4 leaves of 64 KiB. In a frame it still fits the window.
inline constexpr std::size_t kMaxDatagram = 65507;
inline constexpr std::size_t kMaxDatagramFrame =
    wire::kFrameHeaderSize + sizeof(std::uint32_t) + kMaxDatagram;
static_assert(kMaxDatagramFrame <= kWindow);

enum class MessageType : std::uint16_t {
  kOpenUnix = 1,
  kStartExec = 2,
  kPowerOff = 3,
  kPing = 4,
  kAbandon = 5,
  kOpenTcp = 6,
  kWatchFile = 7,
  kOpenUdp = 8,
  kReady = 16,
  kRefused = 17,
  kData = 32,
  kClose = 33,
  kCredit = 34,
  kResize = 35,
  kSignal = 36,
  kExited = 37,
  kFileText = 38,
  kDatagram = 39,
  kDatagramCredit = 40,
};

enum class StreamName : std::uint8_t { kStdin = 0, kStdout = 1, kStderr = 2 };

/// Connects to the unix socket `path` in the machine.
struct OpenUnix {
  static constexpr MessageType kType = MessageType::kOpenUnix;
  std::string path;
  std::uint64_t name = 0;  // for Abandon; no two open connections have the same
  static void fields(auto& self, auto&& visit) { visit(self.path, self.name); }
};

/// Ends the machine's side of the OpenUnix connection of that name at once, because its client is
/// gone for both directions. The host never closes such a connection first (see kWindow).
struct Abandon {
  static constexpr MessageType kType = MessageType::kAbandon;
  std::uint64_t name = 0;
  static void fields(auto& self, auto&& visit) { visit(self.name); }
};

/// Connects to a port in the machine.
struct OpenTcp {
  static constexpr MessageType kType = MessageType::kOpenTcp;
  std::string address;  // IPv4
  std::uint16_t port = 0;
  std::uint64_t name = 0;  // as OpenUnix's, and of the same kind
  static void fields(auto& self, auto&& visit) { visit(self.address, self.port, self.name); }
};

/// Exchanges datagrams with a port in the machine, from a port of their own. It has no name for
/// Abandon: the window keeps QEMU's buffer from being full, so either side may close at any time.
struct OpenUdp {
  static constexpr MessageType kType = MessageType::kOpenUdp;
  std::string address;  // IPv4
  std::uint16_t port = 0;
  static void fields(auto& self, auto&& visit) { visit(self.address, self.port); }
};

/// What is in a file of the machine, now and whenever another one takes its place (rename(2)).
struct WatchFile {
  static constexpr MessageType kType = MessageType::kWatchFile;
  std::string path;  // its directory is made if it is missing
  static void fields(auto& self, auto&& visit) { visit(self.path); }
};

/// Runs a process in the machine.
struct StartExec {
  static constexpr MessageType kType = MessageType::kStartExec;
  std::vector<std::string> argv;  // argv[0] is looked up in PATH from `env`
  std::vector<std::string> env;   // "KEY=value", the whole environment
  std::string cwd;                // an absolute path
  bool tty = false;               // one pty (stdin and stdout), or three separate streams
  std::uint16_t rows = 24;
  std::uint16_t columns = 80;
  static void fields(auto& self, auto&& visit) {
    visit(self.argv, self.env, self.cwd, self.tty, self.rows, self.columns);
  }
};

struct PowerOff {
  static constexpr MessageType kType = MessageType::kPowerOff;
  static void fields(auto&, auto&& visit) { visit(); }
};

/// Asks whether the agent answers.
struct Ping {
  static constexpr MessageType kType = MessageType::kPing;
  static void fields(auto&, auto&& visit) { visit(); }
};

struct Ready {
  static constexpr MessageType kType = MessageType::kReady;
  static void fields(auto&, auto&& visit) { visit(); }
};

struct Refused {
  static constexpr MessageType kType = MessageType::kRefused;
  base::Code code = base::Code::kInternal;
  std::string reason;
  static void fields(auto& self, auto&& visit) { visit(self.code, self.reason); }
};

struct Data {
  static constexpr MessageType kType = MessageType::kData;
  StreamName stream = StreamName::kStdin;
  wire::Bytes bytes;  // at most kMaxChunk
  static void fields(auto& self, auto&& visit) { visit(self.stream, self.bytes); }
};

struct Close {
  static constexpr MessageType kType = MessageType::kClose;
  StreamName stream = StreamName::kStdin;
  static void fields(auto& self, auto&& visit) { visit(self.stream); }
};

struct Credit {
  static constexpr MessageType kType = MessageType::kCredit;
  StreamName stream = StreamName::kStdin;
  std::uint32_t bytes = 0;
  static void fields(auto& self, auto&& visit) { visit(self.stream, self.bytes); }
};

struct Resize {
  static constexpr MessageType kType = MessageType::kResize;
  std::uint16_t rows = 0;
  std::uint16_t columns = 0;
  static void fields(auto& self, auto&& visit) { visit(self.rows, self.columns); }
};

/// Sends a signal to the process group.
struct Signal {
  static constexpr MessageType kType = MessageType::kSignal;
  std::uint32_t number = 0;
  static void fields(auto& self, auto&& visit) { visit(self.number); }
};

struct Exited {
  static constexpr MessageType kType = MessageType::kExited;
  bool signaled = false;     // killed by a signal
  std::uint32_t number = 0;  // the exit status, or the signal
  static void fields(auto& self, auto&& visit) { visit(self.signaled, self.number); }
};

/// Empty if there is no such file; cut after kMaxWatched bytes.
struct FileText {
  static constexpr MessageType kType = MessageType::kFileText;
  std::string text;
  static void fields(auto& self, auto&& visit) { visit(self.text); }
};

struct Datagram {
  static constexpr MessageType kType = MessageType::kDatagram;
  wire::Bytes bytes;  // at most kMaxDatagram; may be empty
  static void fields(auto& self, auto&& visit) { visit(self.bytes); }
};

/// The agent has passed on, or given up, so many bytes of Datagram frames, headers included.
struct DatagramCredit {
  static constexpr MessageType kType = MessageType::kDatagramCredit;
  std::uint32_t bytes = 0;
  static void fields(auto& self, auto&& visit) { visit(self.bytes); }
};

}  // namespace emulated
