// Monitor: a containervm-vmm process with a guest in it, started as the daemon starts one: with a
// control socket, disks from files of a directory of its own, and a network and a stream whose
// other ends are here.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "vmm/base/seqpacket.h"
#include "vmm/base/unique_fd.h"
#include "vmm/launch/messages.h"

namespace hostile {

/// The files that the monitor is given, besides the guest's program. All are below `directory` and
/// full of bytes; a guest may change those of its own disk only.
struct Files {
  static constexpr std::uint64_t kLayerBytes = 1u << 20;
  static constexpr std::uint64_t kDiskBytes = 4u << 20;
  static constexpr std::uint64_t kBehindDisk = 1u << 20;  // end of the disk's file, not attached

  Files();
  ~Files();
  Files(const Files&) = delete;
  Files& operator=(const Files&) = delete;

  /// The names of the files that have changed where they must not, joined; empty: none has.
  std::string changed() const;

  std::string directory;
};

/// How a monitor ended.
struct Ending {
  std::optional<launch::Stopped> stopped;  // its last message, if it sent one
  int status = 0;                          // of waitpid()
  rusage usage{};
  std::uint64_t log_bytes = 0;  // what it wrote to its standard error
  std::string log;              // the beginning of that
};

class Monitor {
 public:
  struct Programs {
    std::string vmm;
    std::string guest;
  };

  /// Boots `programs.guest` with `command_line`, everything attached, and lets it run. If that
  /// fails: nullopt, with a sentence in `problem`.
  static std::optional<Monitor> start(const Programs& programs, const Files& files,
                                      const std::string& command_line, std::string& problem);
  Monitor(Monitor&& other) noexcept;
  Monitor& operator=(Monitor&&) = delete;
  ~Monitor();

  /// Talks to the guest's devices from this side until the guest has ended, for at most
  /// `milliseconds`. Meanwhile asks over new control connections, which the monitor must answer.
  /// True if the guest has ended.
  bool run_until_end(int milliseconds, std::string& problem);
  /// Asks over a new control connection how the machine is. If the monitor does not answer:
  /// nullopt, with a sentence in `problem`.
  std::optional<launch::Status> status(std::string& problem);
  /// Ends the machine if it still runs, and waits for the process.
  Ending finish();

  static constexpr std::uint64_t kMemoryBytes = 64u << 20;

 private:
  Monitor() = default;

  bool spawn(const Programs& programs, std::string& problem);
  bool connect(std::string& problem);
  template <typename M>
  bool ask(const M& message, std::vector<int> fds, std::string& problem);
  bool attach(const Files& files, std::string& problem);
  void talk_to_devices();
  /// The next packet; nullopt: none came in time, or the connection is closed.
  std::optional<base::Packet> next_packet(int milliseconds);

  std::string directory_;
  pid_t child_ = -1;
  base::UniqueFd result_;
  base::UniqueFd log_;
  base::UniqueFd control_;
  base::UniqueFd net_;
  base::UniqueFd stream_;
  std::optional<launch::Stopped> stopped_;
};

}  // namespace hostile
