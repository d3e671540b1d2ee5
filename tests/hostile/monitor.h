// A containervm-vmm process with a guest in it, as the daemon would have it: control socket, disks
// from files of a directory of its own, a network and a stream whose other ends are here.
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

/// What the monitor is given, besides the guest: all files are below `directory`, and full of bytes
/// of which no guest may change any that is not its disk's.
struct Files {
  static constexpr std::uint64_t kLayerBytes = 1u << 20;
  static constexpr std::uint64_t kDiskBytes = 4u << 20;
  static constexpr std::uint64_t kBehindDisk = 1u << 20;  // of the disk's file, not attached

  Files();
  ~Files();
  Files(const Files&) = delete;
  Files& operator=(const Files&) = delete;

  /// The names of files that are not as they were made, joined; empty: all are.
  std::string changed() const;

  std::string directory;
};

/// How a monitor ended.
struct Ending {
  std::optional<launch::Stopped> stopped;  // its last word
  int status = 0;                          // of waitpid()
  rusage usage{};
  std::uint64_t log_bytes = 0;  // what it wrote to its standard error
  std::string log;              // the first of it
};

class Monitor {
 public:
  struct Programs {
    std::string vmm;
    std::string guest;
  };

  /// Boots `programs.guest` with `command_line`, everything attached, and lets it run. nullopt with
  /// a sentence in `problem` if it does not come to that.
  static std::optional<Monitor> start(const Programs& programs, const Files& files,
                                      const std::string& command_line, std::string& problem);
  Monitor(Monitor&& other) noexcept;
  Monitor& operator=(Monitor&&) = delete;
  ~Monitor();

  /// Talks to the guest's devices from this side until the guest has ended, at most so long; asks
  /// over new control connections meanwhile, which it must answer. True if the guest has ended.
  bool run_until_end(int milliseconds, std::string& problem);
  /// Asks over a new control connection how the machine is. nullopt with a sentence in `problem`
  /// if it does not tell.
  std::optional<launch::Status> status(std::string& problem);
  /// Pulls the plug if it still runs; waits for the process.
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
