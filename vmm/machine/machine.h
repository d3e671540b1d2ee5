// Machine: one virtual machine from set-up to its end.
//
// Order: boot() or restore() makes it; then files, taps and sockets are attached to devices(); then
// run(), once. It ends by itself (`on_end`, once) or by being destroyed, which pulls the plug.
//
// Threads: everything is called on the device thread, which runs the loop; the machine's vCPU
// threads are its own. Callbacks come on the device thread, from the loop.
// Ownership: the loop outlives it. Descriptors are borrowed for the duration of a call.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "vmm/arch/platform.h"
#include "vmm/base/event_loop.h"
#include "vmm/base/mapped_region.h"
#include "vmm/kvm/system.h"
#include "vmm/launch/messages.h"
#include "vmm/machine/device_set.h"
#include "vmm/machine/layers_window.h"
#include "vmm/machine/loop_calls.h"
#include "vmm/machine/pending_output.h"
#include "vmm/machine/run_control.h"
#include "vmm/machine/settling.h"
#include "vmm/machine/vcpu_thread.h"

namespace machine {

/// How each of the machine's threads narrows its sandbox before the guest's first instruction. Each
/// is called on its thread and may be empty. An Error ends the machine or makes run() fail.
struct ThreadRestrictions {
  std::function<base::Result<void>()> vcpu;
  std::function<base::Result<void>()> disk;
  /// For the device thread, called last, when all others have been started: one for a clone, one
  /// for a machine that was booted, which may be saved.
  std::function<base::Result<void>()> device_of_clone;
  std::function<base::Result<void>()> device_of_template;
};

class Machine {
 public:
  struct Settings {
    base::EventLoop& loop;
    ThreadRestrictions restrictions;
    std::function<void(launch::Stopped)> on_end;
    /// Names this program: templates carry it, and those of another build are refused.
    std::string build;
  };

  /// As launch::Saved.
  struct Saved {
    std::uint64_t resident_bytes = 0;
    std::vector<std::uint32_t> streams;
  };

  /// Makes a machine that will boot Linux when it runs. `initramfs` may be -1.
  static base::Result<std::unique_ptr<Machine>> boot(const kvm::System& system, Settings settings,
                                                     const launch::Shape& shape, int kernel,
                                                     int initramfs,
                                                     const std::string& command_line);

  /// Makes a clone of a template. kNotSupported: another build's; kInvalidArgument: another
  /// shape's; kDataLoss: damaged.
  static base::Result<std::unique_ptr<Machine>> restore(const kvm::System& system,
                                                        Settings settings,
                                                        const launch::Shape& shape, int memory_file,
                                                        int state_file);

  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  DeviceSet& devices() { return *devices_; }
  /// Before run(), once: shows layers in the window.
  base::Result<void> show_layers(std::span<const LayersWindow::Extent> extents);

  /// Starts the threads, narrows the sandbox of each and lets the guest run. kConflict if it was
  /// called before, even in vain.
  base::Result<void> run();
  /// As AttachNetwork (launch/messages.h).
  base::Result<void> attach_network(std::uint32_t card, base::UniqueFd tap,
                                    const devices::NetDevice::Mac& mac);
  bool started() const { return progress_.started; }
  bool running() const { return progress_.running; }

  /// Lets a running guest settle (settling.h: seconds), parks the vCPUs, writes a template into two
  /// empty files and calls `done`. The machine stays parked. kConflict (at once) if a save is under
  /// way, or if the machine has ended or is a clone.
  base::Result<void> save_template(base::UniqueFd memory_file, base::UniqueFd state_file,
                                   std::function<void(base::Result<Saved>)> done);

  /// The last console output, at most 4 KiB.
  std::string console_tail() const;

 private:
  struct Saving {
    base::UniqueFd memory_file;
    base::UniqueFd state_file;
    std::function<void(base::Result<Saved>)> done;
    std::unique_ptr<Settling> settling;  // while a running guest settles
  };
  /// The mappings that the guest sees as its physical memory. They outlive the VM.
  struct Memory {
    base::MappedRegion ram;
    base::MappedRegion register_windows;
    LayersWindow layers_window;
  };
  struct Progress {
    bool restored = false;
    bool started = false;
    bool running = false;
    bool ended = false;
  };

  Machine(Settings settings, const launch::Shape& shape, base::MappedRegion ram, kvm::Vm vm);

  static base::Result<std::unique_ptr<Machine>> assemble(const kvm::System& system,
                                                         Settings settings,
                                                         const launch::Shape& shape,
                                                         base::MappedRegion ram);
  void start_vcpu_threads();
  void report_end(End end);
  void finish(End end);
  void on_parked();
  void park();
  void begin_saving();
  base::Result<Saved> write_template(const Saving& saving);

  Settings settings_;
  launch::Shape shape_;
  Memory memory_;
  kvm::Vm vm_;
  LoopCalls calls_;
  PendingOutput serial_output_;
  std::unique_ptr<arch::Platform> platform_;
  std::unique_ptr<DeviceSet> devices_;
  RunControl control_;
  std::vector<std::unique_ptr<VcpuThread>> threads_;
  std::optional<Saving> saving_;
  Progress progress_;
};

}  // namespace machine
