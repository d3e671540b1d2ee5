// The protocol between the daemon (host) and guest-init (PID 1 in the guest), over virtio-vsock.
//
// Connections (always opened by the host):
//   kControlPort  frames (wire.h) in both directions, Hello first. One control stream counts at a
//                 time: a newer one replaces the older, which guest-init then closes, once its
//                 Hello has proved that it is the host's. Losing it stops nothing: processes go on,
//                 and exits are kept until a new control stream was told of them.
//   kStreamPort   one connection per stdio stream. The host sends one StreamOpen frame, then
//                 kStdin: raw bytes host -> guest; half-close is end of file (also for the process,
//                 unless it has a terminal). A reset, or a close of both ways at once, only loses
//                 the connection: that is how a killed daemon looks.
//                 kStdout, kStderr: raw bytes guest -> host, half-closed at the end. In the other
//                 direction the host acknowledges with cumulative u64 (little endian) byte counts.
//                 guest-init keeps what is not acknowledged (at most kReplayBytes; then it stops
//                 reading from the process), so that a host which comes back loses nothing.
//                 A connection may be opened long before its StreamOpen is sent (templates do
//                 that).
//   kSocketPort   one connection for each that a process of the guest has made to a socket of the
//                 host (PrepareContainer::Source::kSocket). The guest asks for it with
//                 SocketConnected; the host sends one SocketOpen frame, and from then on each side
//                 passes on, in both directions, what the process and the host's socket write,
//                 their half-closes and their ends.
//
// Order for a new clone, all of it sent without waiting, answered one by one:
//   SetIdentity -> ConfigureNetwork -> PrepareContainer -> StartProcess.
// Requests are carried out in the order they arrive. If one fails, later ones that need it fail
// too. Nothing of the tenant runs before SetIdentity was carried out: guest-init refuses it.
//
// Trust: guest-init trusts the host, and nobody else in the guest: a connection counts only if it
// comes from CID 2, which no process of a guest can have, and, from SetIdentity on, says the
// machine's secret. Any other is closed and has no effect. The host trusts nothing that arrives
// here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "vmm/base/wire.h"

namespace protocol {

/// Raised with every change of a message below. Host and guest must be equal; a template whose
/// guest-init differs is never used, so there is nothing to negotiate.
inline constexpr std::uint32_t kVersion = 15;

inline constexpr std::uint32_t kControlPort = 1024;
inline constexpr std::uint32_t kStreamPort = 1025;
inline constexpr std::uint32_t kSocketPort = 1026;
/// How many connections to sockets of the host a machine has at a time, or waits for: further ones
/// are not accepted until one has ended.
inline constexpr std::size_t kMostSocketConnections = 128;
inline constexpr std::size_t kReplayBytes = 256u << 10;
/// How many bytes of the writable disk a container's own file system has at most. The block device
/// of the disk's first kOwnDiskBytes is made before the machine is cloned.
inline constexpr std::uint64_t kOwnDiskBytes = std::uint64_t{1} << 46;

/// The longest seccomp filter that a kernel takes: 4096 instructions of 8 bytes.
inline constexpr std::size_t kMaxSeccompFilter = 4096 * 8;

enum class MessageType : std::uint16_t {
  // host -> guest
  kHello = 1,
  kSetIdentity = 2,
  kConfigureNetwork = 3,
  kPrepareContainer = 4,
  kStartProcess = 5,
  kSignalProcess = 6,
  kResizeTerminal = 7,
  kShutdown = 8,
  kStreamOpen = 9,
  kForgetProcess = 10,
  kRemoveContainer = 11,
  kFreezeContainer = 12,
  kUpdateLimits = 13,
  kReadStatistics = 14,
  kListProcesses = 15,
  kNameAnswer = 16,
  kSocketOpen = 17,
  kSocketRefused = 18,
  kUpdateNetworkFiles = 19,
  // guest -> host
  kHelloReply = 64,
  kDone = 65,
  kFailure = 66,
  kProcessStarted = 67,
  kProcessExited = 68,
  kStatistics = 69,
  kProcessList = 70,
  kNameQuery = 71,
  kSocketConnected = 72,
};

/// A secret that only the host and this machine's guest-init know; the host makes one for each
/// clone. Comparing takes as long for a wrong one as for the right one
/// (guest-init/server/secret.h).
using Secret = std::array<std::uint8_t, 32>;

/// Host -> guest, first on a control stream. Answered by HelloReply.
struct Hello {
  static constexpr MessageType kType = MessageType::kHello;
  std::uint32_t version = kVersion;
  Secret secret{};  // as in SetIdentity; ignored before that request, and so by a template
  static void fields(auto& self, auto&& visit) { visit(self.version, self.secret); }
};

/// Host -> guest: make this clone differ from all others. Answered by Done.
struct SetIdentity {
  static constexpr MessageType kType = MessageType::kSetIdentity;
  std::uint32_t request = 0;
  std::array<std::uint8_t, 64>
      entropy{};  // fresh random bytes, mixed in and credited (RNDADDENTROPY + reseed)
  std::int64_t realtime_ns = 0;  // CLOCK_REALTIME now
  std::string machine_id;  // 32 lower-case hex digits, bound over /etc/machine-id where the image
                           // has that file
  Secret secret{};         // not all zero
  static void fields(auto& self, auto&& visit) {
    visit(self.request, self.entropy, self.realtime_ns, self.machine_id, self.secret);
  }
};

/// One of the guest's network interfaces.
struct NetworkInterface {
  std::uint32_t slot = 0;  // number of the network card, which is called eth<slot>
  std::array<std::uint8_t, 6> mac{};
  std::string address;  // IPv4 "172.17.0.2"
  std::uint8_t prefix_length = 0;
  std::string gateway;  // empty: no default route
  std::uint32_t mtu = 1500;
  std::string address6;  // IPv6 "fd00::2"; empty: IPv6 is off on it
  std::uint8_t prefix_length6 = 0;
  std::string gateway6;  // empty: no default route of IPv6
  bool operator==(const NetworkInterface&) const = default;
  static void fields(auto& self, auto&& visit) {
    visit(self.slot, self.mac, self.address, self.prefix_length, self.gateway, self.mtu,
          self.address6, self.prefix_length6, self.gateway6);
  }
};

/// Host -> guest: the interfaces that there are from now on, at most one for a card; other cards
/// are taken away (with no interface only loopback is left), and come back when a later request
/// names them. An interface that stays as it is is not touched. At most one has gateways. It learns
/// nothing of IPv6 from the network, and does not look whether somebody else has its address: the
/// host gives each to one machine. Answered by Done.
struct ConfigureNetwork {
  static constexpr MessageType kType = MessageType::kConfigureNetwork;
  using Interface = NetworkInterface;
  std::uint32_t request = 0;
  std::vector<Interface> interfaces;
  static void fields(auto& self, auto&& visit) { visit(self.request, self.interfaces); }
};

/// Host -> guest: the container's network has changed, and so do its /etc/hosts and its
/// /etc/resolv.conf; what its processes wrote there stays. For a container that has these files as
/// its own (PrepareContainer). Answered by Done.
struct UpdateNetworkFiles {
  static constexpr MessageType kType = MessageType::kUpdateNetworkFiles;
  std::uint32_t request = 0;
  std::uint32_t container = 0;
  std::vector<std::string> removed_hosts;  // lines, without their ends
  std::vector<std::string> added_hosts;
  std::string resolv_conf_file;  // instead of the one that was given before
  static void fields(auto& self, auto&& visit) {
    visit(self.request, self.container, self.removed_hosts, self.added_hosts,
          self.resolv_conf_file);
  }
};

/// Host -> guest: build the root filesystem and namespaces of one container. Answered by Done.
struct PrepareContainer {
  static constexpr MessageType kType = MessageType::kPrepareContainer;
  /// One read-only EROFS layer: bytes [offset, offset + length) of the layers window, where its
  /// files are read and mapped as they lie in the host's memory (DAX), or of the layers disk.
  struct Layer {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    bool in_window = false;  // then offset and length are multiples of 4096
    static void fields(auto& self, auto&& visit) {
      visit(self.offset, self.length, self.in_window);
    }
  };
  /// An ext4, the container's own or a volume's: bytes [offset, offset + length) of the writable
  /// disk. They may reach past the end of the file system.
  struct Disk {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    static void fields(auto& self, auto&& visit) { visit(self.offset, self.length); }
  };
  /// Where a mount's files are. Directories and files of the host are shown by the machine's file
  /// server.
  enum class Source : std::uint8_t {
    kDisk = 0,       // a volume, on a disk of its own
    kDirectory = 1,  // a volume, in a directory of the host
    kHost = 2,       // a file or directory of the host
    kSocket = 3,     // a unix stream socket of the host, at whose place guest-init listens
  };
  /// What the socket file of kSocket looks like; who may connect follows from that.
  struct Socket {
    std::uint32_t number = 0;
    std::uint32_t mode = 0;  // permissions
    std::uint32_t user = 0;
    std::uint32_t group = 0;
    static void fields(auto& self, auto&& visit) {
      visit(self.number, self.mode, self.user, self.group);
    }
  };
  /// A volume, or a file or directory of the host, in the container. The place is made where it is
  /// missing: a file for a file, else a directory.
  struct Mount {
    Source source = Source::kDisk;
    /// Of kDisk: index into `volume_disks`; of kSocket: the number of one of `sockets`; of the
    /// others: what the file server calls it. Several mounts may name the same.
    std::uint32_t number = 0;
    std::string path;     // absolute, normal, not "/"
    std::string subpath;  // relative, followed inside of the volume, must be there; "": all of it
    bool read_only = false;
    bool no_setuid = false;   // programs there do not change who runs them (MS_NOSUID)
    bool no_devices = false;  // devices there cannot be opened (MS_NODEV)
    bool no_exec = false;     // programs there cannot be run (MS_NOEXEC)
    /// While nothing is in the volume: what the image has at `path` is copied there, and the
    /// volume's root becomes like that directory. After a crash all of that was done or nothing;
    /// of a directory of the host (kHost) a part may have been, as it cannot be replaced.
    bool copy_up = false;
    static void fields(auto& self, auto&& visit) {
      visit(self.source, self.number, self.path, self.subpath, self.read_only, self.no_setuid,
            self.no_devices, self.no_exec, self.copy_up);
    }
  };
  struct Tmpfs {
    std::string path;
    std::string options;  // as Docker passes them: "rw,size=64m,mode=1777"
    static void fields(auto& self, auto&& visit) { visit(self.path, self.options); }
  };
  /// cgroup v2 limits of the container; 0 = none.
  struct Limits {
    std::uint64_t memory_bytes = 0;      // memory.max
    std::int64_t memory_swap_bytes = 0;  // Docker's meaning: memory + swap; -1 unlimited
    std::uint64_t memory_low_bytes = 0;  // reservation
    std::uint64_t cpu_quota_us = 0;      // per cpu_period_us
    std::uint64_t cpu_period_us = 100000;
    std::uint64_t cpu_shares = 0;  // Docker's 2..262144, converted to cpu.weight in the guest
    std::string cpuset;
    std::uint64_t pids = 0;
    // io.max of each of the machine's disks, per second
    std::uint64_t read_bytes = 0;
    std::uint64_t write_bytes = 0;
    std::uint64_t read_operations = 0;
    std::uint64_t write_operations = 0;
    static void fields(auto& self, auto&& visit) {
      visit(self.memory_bytes, self.memory_swap_bytes, self.memory_low_bytes, self.cpu_quota_us,
            self.cpu_period_us, self.cpu_shares, self.cpuset, self.pids, self.read_bytes,
            self.write_bytes, self.read_operations, self.write_operations);
    }
  };
  struct Sysctl {
    std::string name;  // "net.ipv4.ip_forward"
    std::string value;
    static void fields(auto& self, auto&& visit) { visit(self.name, self.value); }
  };
  /// Whose namespaces the container has: numbers of containers that were prepared and whose first
  /// processes have not ended. 0: its own, or, of the network, the machine's.
  struct Namespaces {
    std::uint32_t network = 0;   // with its /etc/hostname, /etc/hosts and /etc/resolv.conf
    bool only_loopback = false;  // no network at all; with `network` 0 only
    std::uint32_t ipc = 0;       // with its /dev/shm and /dev/mqueue
    std::uint32_t pid = 0;       // the first process is not PID 1 then, and goes with that one
    static void fields(auto& self, auto&& visit) {
      visit(self.network, self.only_loopback, self.ipc, self.pid);
    }
  };

  std::uint32_t request = 0;
  std::uint32_t container = 0;  // the host's name for it in later messages
  std::vector<Layer> layers;    // lowest first; may be empty (an image without layers)
  Namespaces namespaces;
  std::string hostname;
  std::string domainname;
  std::string hostname_file;  // contents of /etc/hostname, /etc/hosts, /etc/resolv.conf
  std::string hosts_file;
  std::string resolv_conf_file;
  bool read_only_root = false;
  bool privileged = false;
  std::uint64_t shm_bytes = 64u << 20;  // 0: no /dev/shm
  std::vector<Tmpfs> tmpfs;
  Disk disk;  // the container's own, for what it writes
  std::vector<Disk> volume_disks;
  std::vector<Socket> sockets;
  std::vector<Mount> mounts;  // a directory before those below it
  Limits limits;
  std::vector<Sysctl> sysctls;
  /// Docker's defaults are in docker_defaults.h; any other lists work too, only slower.
  std::vector<std::string> masked_paths;
  std::vector<std::string> read_only_paths;
  static void fields(auto& self, auto&& visit) {
    visit(self.request, self.container, self.layers, self.namespaces, self.hostname,
          self.domainname, self.hostname_file, self.hosts_file, self.resolv_conf_file,
          self.read_only_root, self.privileged, self.shm_bytes, self.tmpfs, self.disk,
          self.volume_disks, self.sockets, self.mounts, self.limits, self.sysctls,
          self.masked_paths, self.read_only_paths);
  }
};

/// Host -> guest: run one process in a prepared container. The first process of a container is PID
/// 1 of its PID namespace, if that is its own; either way all others of the container end with it.
/// Answered by ProcessStarted (after a successful execve) or Failure.
struct StartProcess {
  static constexpr MessageType kType = MessageType::kStartProcess;
  struct Rlimit {
    std::string name;  // "nofile"
    std::uint64_t soft = 0;
    std::uint64_t hard = 0;
    static void fields(auto& self, auto&& visit) { visit(self.name, self.soft, self.hard); }
  };
  std::uint32_t request = 0;
  std::uint32_t container = 0;
  std::uint32_t process = 0;      // host's name for it in later messages; not used before
  std::vector<std::string> argv;  // argv[0] is looked up in PATH from `env`
  std::vector<std::string> env;   // "KEY=value"
  std::string cwd = "/";          // absolute; created when missing, for a container's first process
  std::string user;  // "name|uid[:group|gid]", resolved in the container's passwd/group
  std::vector<std::string> additional_groups;
  bool tty = false;        // one pty, or three separate streams
  std::uint16_t rows = 0;  // the terminal's first size, 0 = leave
  std::uint16_t columns = 0;
  bool open_stdin = false;         // false: /dev/null (no kStdin stream will come)
  std::uint64_t capabilities = 0;  // bit n = CAP_n, for bounding, permitted, effective
  bool no_new_privileges = false;
  bool use_init = false;  // guest-init as PID 1, which reaps and runs argv (docker run --init)
  /// guest-init's files tool instead of a program of the container (files.h): argv is what follows
  /// its name. It runs outside the container's PID namespace and cgroup, unless it is the
  /// container's first process.
  bool files_tool = false;
  std::int32_t oom_score_adj = 0;
  std::vector<Rlimit> rlimits;
  /// struct sock_filter, one after the other; empty: no filter. Installed just before the execve,
  /// which is the only call of guest-init that the filter sees.
  std::vector<std::byte> seccomp_filter;
  std::uint32_t seccomp_flags = 0;  // of SECCOMP_SET_MODE_FILTER: FILTER_FLAG_LOG, SPEC_ALLOW
  static void fields(auto& self, auto&& visit) {
    visit(self.request, self.container, self.process, self.argv, self.env, self.cwd, self.user,
          self.additional_groups, self.tty, self.rows, self.columns, self.open_stdin,
          self.capabilities, self.no_new_privileges, self.use_init, self.files_tool,
          self.oom_score_adj, self.rlimits, self.seccomp_filter, self.seccomp_flags);
  }
};

/// Host -> guest. Answered by Done; Failure kNoSuchProcess if it has exited.
struct SignalProcess {
  static constexpr MessageType kType = MessageType::kSignalProcess;
  std::uint32_t request = 0;
  std::uint32_t process = 0;
  std::int32_t signal = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request, self.process, self.signal); }
};

/// Host -> guest. Answered by Done.
struct ResizeTerminal {
  static constexpr MessageType kType = MessageType::kResizeTerminal;
  std::uint32_t request = 0;
  std::uint32_t process = 0;
  std::uint16_t rows = 0;
  std::uint16_t columns = 0;
  static void fields(auto& self, auto&& visit) {
    visit(self.request, self.process, self.rows, self.columns);
  }
};

/// Host -> guest: kill everything that still runs, write all filesystems back, unmount, power off.
/// Answered by Done once the disk is clean. Then guest-init waits until the host has closed the
/// control stream (at most a second) and restarts, which ends the machine: there is no firmware to
/// switch it off.
struct Shutdown {
  static constexpr MessageType kType = MessageType::kShutdown;
  std::uint32_t request = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request); }
};

enum class Stream : std::uint8_t { kStdin = 0, kStdout = 1, kStderr = 2 };

/// Host -> guest, first on a kStreamPort connection. Not answered: a connection for a stream that
/// the process does not have is closed. May arrive before its StartProcess, and before SetIdentity,
/// which closes it if its secret is wrong. `offset` resumes an output stream at that byte.
struct StreamOpen {
  static constexpr MessageType kType = MessageType::kStreamOpen;
  std::uint32_t process = 0;
  Stream stream = Stream::kStdin;
  std::uint64_t offset = 0;
  Secret secret{};
  static void fields(auto& self, auto&& visit) {
    visit(self.process, self.stream, self.offset, self.secret);
  }
};

/// Host -> guest: the host has recorded the exit of `process`; guest-init drops what it keeps of
/// the process. Answered by Done; Failure while the process has not ended.
struct ForgetProcess {
  static constexpr MessageType kType = MessageType::kForgetProcess;
  std::uint32_t request = 0;
  std::uint32_t process = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request, self.process); }
};

/// Host -> guest: kill the container's processes, and with its PID namespace those of others that
/// share it, write its filesystems back and unmount them. Answered by Done when nothing in the
/// guest uses its layers and disks any more.
struct RemoveContainer {
  static constexpr MessageType kType = MessageType::kRemoveContainer;
  std::uint32_t request = 0;
  std::uint32_t container = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request, self.container); }
};

/// Host -> guest: freeze all processes of the container, or let them go on. Answered by Done once
/// all stand still; Failure if they do not within two seconds (then they go on).
struct FreezeContainer {
  static constexpr MessageType kType = MessageType::kFreezeContainer;
  std::uint32_t request = 0;
  std::uint32_t container = 0;
  bool frozen = false;
  static void fields(auto& self, auto&& visit) { visit(self.request, self.container, self.frozen); }
};

/// Host -> guest: these limits instead of the present ones (0 = none). Answered by Done; on a
/// Failure some may have been set.
struct UpdateLimits {
  static constexpr MessageType kType = MessageType::kUpdateLimits;
  std::uint32_t request = 0;
  std::uint32_t container = 0;
  PrepareContainer::Limits limits;
  static void fields(auto& self, auto&& visit) { visit(self.request, self.container, self.limits); }
};

/// Host -> guest. Answered by Statistics.
struct ReadStatistics {
  static constexpr MessageType kType = MessageType::kReadStatistics;
  std::uint32_t request = 0;
  std::uint32_t container = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request, self.container); }
};

/// Host -> guest. Answered by ProcessList.
struct ListProcesses {
  static constexpr MessageType kType = MessageType::kListProcesses;
  std::uint32_t request = 0;
  std::uint32_t container = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request, self.container); }
};

/// How a process ended, as its wait status says it.
struct ExitStatus {
  bool signaled = false;
  std::int32_t code = 0;  // exit code, or the signal's number
  bool core_dumped = false;
  bool oom_killed = false;   // its cgroup's memory.events counted an oom_kill
  std::int64_t time_ns = 0;  // CLOCK_REALTIME in the guest
  static void fields(auto& self, auto&& visit) {
    visit(self.signaled, self.code, self.core_dumped, self.oom_killed, self.time_ns);
  }
};

/// Guest -> host, the answer to Hello: what guest-init knows, so that a restarted host can go on.
struct HelloReply {
  static constexpr MessageType kType = MessageType::kHelloReply;
  struct Process {
    std::uint32_t process = 0;
    std::uint32_t container = 0;
    std::int32_t pid = 0;            // in the guest
    std::uint64_t stdout_bytes = 0;  // acknowledged so far
    std::uint64_t stderr_bytes = 0;
    std::optional<ExitStatus> exit;
    static void fields(auto& self, auto&& visit) {
      visit(self.process, self.container, self.pid, self.stdout_bytes, self.stderr_bytes,
            self.exit);
    }
  };
  std::uint32_t version = kVersion;
  std::string kernel_release;             // uname -r
  bool identified = false;                // SetIdentity was carried out
  std::vector<std::uint32_t> containers;  // that were prepared and not removed
  std::vector<Process> processes;
  static void fields(auto& self, auto&& visit) {
    visit(self.version, self.kernel_release, self.identified, self.containers, self.processes);
  }
};

/// Guest -> host: the request with this number was carried out.
struct Done {
  static constexpr MessageType kType = MessageType::kDone;
  std::uint32_t request = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request); }
};

/// What failed, as far as the host must tell cases apart (Docker's 126 and 127 among them).
enum class FailureKind : std::uint8_t {
  kInternal = 0,
  kInvalidRequest = 1,  // out of order, unknown id, bad value
  kNoSuchProcess = 2,
  kExecutableNotFound = 3,  // ENOENT on argv[0], or not in PATH
  kNotExecutable = 4,       // EACCES, ENOEXEC, EISDIR on argv[0]
  kNoSuchUser = 5,          // user or group not in passwd/group
  kWorkingDirectory = 6,
  kRootFilesystem = 7,  // a layer or the disk does not mount
  kLimit = 8,           // a cgroup or rlimit value was refused
};

/// Guest -> host: the request could not be carried out.
struct Failure {
  static constexpr MessageType kType = MessageType::kFailure;
  std::uint32_t request = 0;
  FailureKind kind = FailureKind::kInternal;
  std::int32_t error_number = 0;  // errno, 0 if none
  std::string stage;              // "cgroup", "root filesystem", "lookup", "execve"
  /// A sentence. For a command that cannot run, and an unknown user, it is Docker's own:
  /// `exec: "foo": executable file not found in $PATH`.
  std::string message;
  static void fields(auto& self, auto&& visit) {
    visit(self.request, self.kind, self.error_number, self.stage, self.message);
  }
};

/// Guest -> host, the answer to StartProcess: execve has succeeded.
struct ProcessStarted {
  static constexpr MessageType kType = MessageType::kProcessStarted;
  std::uint32_t request = 0;
  std::uint32_t process = 0;
  std::int32_t pid = 0;
  static void fields(auto& self, auto&& visit) { visit(self.request, self.process, self.pid); }
};

/// Guest -> host, unasked: sent once all of the process's output was read into the replay buffers,
/// and again after each HelloReply until ForgetProcess.
struct ProcessExited {
  static constexpr MessageType kType = MessageType::kProcessExited;
  std::uint32_t process = 0;
  ExitStatus status;
  std::uint64_t stdout_bytes = 0;  // length of the whole stream, so the host knows when it has all
  std::uint64_t stderr_bytes = 0;
  static void fields(auto& self, auto&& visit) {
    visit(self.process, self.status, self.stdout_bytes, self.stderr_bytes);
  }
};

/// Guest -> host: what a container uses, as the texts of the kernel's own files; empty where there
/// is no such file.
struct Statistics {
  static constexpr MessageType kType = MessageType::kStatistics;
  std::uint32_t request = 0;
  std::string cpu_stat;  // of the container's cgroup, as all up to io_stat
  std::string memory_current;
  std::string memory_max;
  std::string memory_stat;
  std::string pids_current;
  std::string pids_max;
  std::string io_stat;
  std::string network_devices;  // /proc/net/dev
  std::string memory_info;      // /proc/meminfo of the machine
  std::uint32_t cpus = 0;       // online in the machine
  static void fields(auto& self, auto&& visit) {
    visit(self.request, self.cpu_stat, self.memory_current, self.memory_max, self.memory_stat,
          self.pids_current, self.pids_max, self.io_stat, self.network_devices, self.memory_info,
          self.cpus);
  }
};

/// Guest -> host: the container's processes, by pid.
struct ProcessList {
  static constexpr MessageType kType = MessageType::kProcessList;
  struct Entry {
    std::int32_t pid = 0;      // in the guest
    std::uint32_t user = 0;    // effective uid
    std::string stat;          // /proc/<pid>/stat
    std::string command_line;  // /proc/<pid>/cmdline: arguments that end with NUL; at most 4 KiB
    static void fields(auto& self, auto&& visit) {
      visit(self.pid, self.user, self.stat, self.command_line);
    }
  };
  std::uint32_t request = 0;
  std::int64_t boot_time_s = 0;  // CLOCK_REALTIME when the machine's uptime was 0
  std::uint64_t total_memory_bytes = 0;
  std::vector<Entry> processes;
  bool truncated = false;  // there are more than fit
  static void fields(auto& self, auto&& visit) {
    visit(self.request, self.boot_time_s, self.total_memory_bytes, self.processes, self.truncated);
  }
};

/// How long a message of the domain name system may be here, in either direction.
inline constexpr std::size_t kMaxNameMessage = 4096;

/// Guest -> host, unasked: a process asked the resolver at 127.0.0.11. Answered by NameAnswer, or
/// not at all: then the process asks again.
struct NameQuery {
  static constexpr MessageType kType = MessageType::kNameQuery;
  std::uint32_t query = 0;  // the guest's number
  bool stream = false;      // it was asked over TCP, so the answer is not cut to fit a datagram
  wire::Bytes message;      // RFC 1035; whatever the process sent
  static void fields(auto& self, auto&& visit) { visit(self.query, self.stream, self.message); }
};

/// Host -> guest. Not answered. One that comes too late is dropped.
struct NameAnswer {
  static constexpr MessageType kType = MessageType::kNameAnswer;
  std::uint32_t query = 0;
  wire::Bytes message;
  static void fields(auto& self, auto&& visit) { visit(self.query, self.message); }
};

/// Guest -> host, unasked, and again after each HelloReply while it waits: a process has connected
/// to a socket of the host. Answered by a connection to kSocketPort, or SocketRefused.
struct SocketConnected {
  static constexpr MessageType kType = MessageType::kSocketConnected;
  std::uint32_t connection = 0;  // the guest's number
  std::uint32_t container = 0;
  std::uint32_t socket = 0;  // PrepareContainer::Socket::number
  static void fields(auto& self, auto&& visit) {
    visit(self.connection, self.container, self.socket);
  }
};

/// Host -> guest, first on a kSocketPort connection. One that nobody waits for is closed.
struct SocketOpen {
  static constexpr MessageType kType = MessageType::kSocketOpen;
  std::uint32_t connection = 0;
  Secret secret{};
  static void fields(auto& self, auto&& visit) { visit(self.connection, self.secret); }
};

/// Host -> guest: nothing listens at the host's socket, or the host has too many connections. The
/// process's is closed. Not answered.
struct SocketRefused {
  static constexpr MessageType kType = MessageType::kSocketRefused;
  std::uint32_t connection = 0;
  static void fields(auto& self, auto&& visit) { visit(self.connection); }
};

}  // namespace protocol
