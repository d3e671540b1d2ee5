// Qemu: one QEMU process that emulates a computer with nested SVM, and the pipes and sockets to it.
//
// Ownership: destroying a Qemu kills the process; so does the death of the thread that started it
// (PR_SET_PDEATHSIG). The files that its settings name outlive it.
// Threading: one thread.
// Trust: what comes from the console, the status port and QMP is the machine's; it runs guests, so
// it is bounded and never interpreted beyond what is said here.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"
#include "vmm/emulated/host/processor.h"
#include "vmm/emulated/link/channel.h"

namespace emulated {

/// A host directory that the machine sees at the same path, read-only and uncached.
struct Share {
  std::string tag;
  std::string path;
};

struct QemuSettings {
  std::filesystem::path kernel;
  std::filesystem::path initramfs;
  std::filesystem::path disk;      // raw, becomes /dev/vda
  std::filesystem::path token;     // file, handed over as fw_cfg opt/containervm/token
  std::filesystem::path settings;  // file, handed over as fw_cfg opt/containervm/settings
  std::filesystem::path log;       // QEMU's own messages
  std::vector<Share> shares;
  std::uint32_t memory_mib = 0;
  std::uint32_t cpus = 0;
};

class Qemu {
 public:
  /// Starts QEMU. With one virtual CPU it stays on one processor of this host, and the choice of
  /// that takes 100 ms (processor.h). That QEMU cannot be executed shows in `log` and in the end of
  /// the process.
  static base::Result<Qemu> start(const QemuSettings& settings);

  Qemu(Qemu&& other) noexcept;
  Qemu& operator=(Qemu&&) = delete;
  ~Qemu();

  pid_t pid() const { return pid_; }
  /// Readable once the process is gone.
  int process_fd() const { return process_.get(); }
  /// The machine's console (first serial port), to be read.
  int console_fd() const { return console_.get(); }
  /// The machine's progress (second serial port), to be read: one line per step, at last "ready".
  int status_fd() const { return status_.get(); }

  /// Asks QEMU for the port on 127.0.0.1 that leads to the agent.
  base::Result<std::uint16_t> agent_port(Deadline deadline);

 private:
  Qemu() = default;

  pid_t pid_ = -1;
  base::UniqueFd process_;
  base::UniqueFd console_;
  base::UniqueFd status_;
  base::UniqueFd qmp_;
  std::optional<ProcessorClaim> processor_;  // of this host, where all of its threads stay
};

/// The host port in QEMU's answer to `info usernet` that is forwarded to `guest_port`.
base::Result<std::uint16_t> find_forwarded_port(const std::string& answer,
                                                std::uint16_t guest_port);

}  // namespace emulated
