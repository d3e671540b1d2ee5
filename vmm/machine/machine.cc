#include "vmm/machine/machine.h"

#include "vmm/base/units.h"
#include "vmm/machine/guest_ram.h"
#include "vmm/machine/state_file.h"

namespace machine {
namespace {

using base::operator""_KiB;

constexpr std::size_t kConsoleTail = 4_KiB;
// Fewer, larger mappings make a clone's start cheaper; the zeros between them cost page cache once.
constexpr std::uint64_t kExtentGap = 256_KiB;
// Linux describes each page of 4 KiB in 64 bytes, also those of the layers window.
constexpr std::uint64_t kWindowDescriptions = launch::kLayersWindowBytes / 64;

std::uint64_t ram_bytes(const launch::Shape& shape) {
  return shape.memory_bytes + kWindowDescriptions;
}

base::Result<void> check_shape(const launch::Shape& shape) {
  RETURN_IF_ERROR(arch::Platform::check_shape(shape.vcpus, shape.memory_bytes));
  return DeviceSet::check_shape(shape);
}

launch::Stopped describe(End end, std::string console_tail) {
  launch::Stopped stopped;
  stopped.reason = end.reason;
  stopped.message = std::move(end.message);
  stopped.console_tail = std::move(console_tail);
  if (stopped.reason == launch::StopReason::kGuestShutdown &&
      stopped.console_tail.find("Kernel panic") != std::string::npos) {
    stopped.reason = launch::StopReason::kGuestPanic;
    stopped.message = "the guest's kernel panicked";
  }
  return stopped;
}

}  // namespace

Machine::Machine(Settings settings, const launch::Shape& shape, base::MappedRegion ram, kvm::Vm vm)
    : settings_(std::move(settings)),
      shape_(shape),
      memory_{.ram = std::move(ram), .register_windows = {}, .layers_window = {}},
      vm_(std::move(vm)),
      calls_(settings_.loop),
      control_(shape.vcpus, [this] { calls_.post([this] { on_parked(); }); }) {}

Machine::~Machine() {
  control_.set_phase(RunControl::Phase::kEnding);
  calls_.close();
  threads_.clear();
}

base::Result<std::unique_ptr<Machine>> Machine::assemble(const kvm::System& system,
                                                         Settings settings,
                                                         const launch::Shape& shape,
                                                         base::MappedRegion ram) {
  auto vm = system.create_vm();
  if (!vm) return vm.error();
  std::unique_ptr<Machine> machine(
      new Machine(std::move(settings), shape, std::move(ram), *std::move(vm)));
  Machine* const self = machine.get();
  arch::Platform::Callbacks callbacks;
  callbacks.serial_output = [self](const std::string& text) {
    if (!self->serial_output_.add(text)) return;
    self->calls_.post([self] {
      const std::string waiting = self->serial_output_.take();
      self->devices_->console().append(std::as_bytes(std::span(waiting)));
    });
  };
  callbacks.reset = [self] {
    self->control_.stop_running();
    self->report_end({launch::StopReason::kGuestShutdown, "the guest shut down"});
  };
  auto windows = DeviceSet::map_windows(shape);
  if (!windows) return windows.error();
  self->memory_.register_windows = *std::move(windows);
  auto layers_window = LayersWindow::create(launch::kLayersWindowBytes);
  if (!layers_window) return layers_window.error();
  self->memory_.layers_window = *std::move(layers_window);
  auto platform = arch::Platform::create(system, self->vm_,
                                         {.ram = self->memory_.ram.bytes(),
                                          .registers = self->memory_.register_windows.bytes(),
                                          .window = self->memory_.layers_window.bytes()},
                                         shape.vcpus, std::move(callbacks));
  if (!platform) return platform.error();
  self->platform_ = *std::move(platform);
  auto devices = DeviceSet::create(*self->platform_, self->settings_.loop, self->calls_,
                                   self->memory_.register_windows.bytes(), shape);
  if (!devices) return devices.error();
  self->devices_ = *std::move(devices);
  self->devices_->keep_kicks_in_kernel(self->calls_);
  return machine;
}

base::Result<std::unique_ptr<Machine>> Machine::boot(const kvm::System& system, Settings settings,
                                                     const launch::Shape& shape, int kernel,
                                                     int initramfs,
                                                     const std::string& command_line) {
  RETURN_IF_ERROR(check_shape(shape));
  auto ram = map_fresh_ram(ram_bytes(shape));
  if (!ram) return ram.error();
  auto machine = assemble(system, std::move(settings), shape, *std::move(ram));
  if (!machine) return machine;
  arch::Platform::Boot boot;
  boot.kernel = kernel;
  boot.initramfs = initramfs;
  boot.command_line = command_line;
  boot.virtio_slots = (*machine)->devices_->slots();
  RETURN_IF_ERROR((*machine)->platform_->boot(system, boot));
  return machine;
}

base::Result<std::unique_ptr<Machine>> Machine::restore(const kvm::System& system,
                                                        Settings settings,
                                                        const launch::Shape& shape, int memory_file,
                                                        int state_file) {
  RETURN_IF_ERROR(check_shape(shape));
  auto state = read_state(state_file, settings.build);
  if (!state) return state.error();
  if (state->shape != shape)
    return base::Error{base::Code::kInvalidArgument,
                       "the template has another number of vCPUs or cards or another memory size"};
  auto ram = map_cloned_ram(memory_file, ram_bytes(shape), state->extents);
  if (!ram) return ram.error();
  auto made = assemble(system, std::move(settings), shape, *std::move(ram));
  if (!made) return made;
  Machine& machine = **made;
  machine.progress_.restored = true;
  wire::Decoder platform(state->platform);
  RETURN_IF_ERROR(machine.platform_->restore(platform));
  if (platform.remaining() != 0)
    return base::Error{base::Code::kDataLoss, "state of the platform is too long"};
  RETURN_IF_ERROR(machine.platform_->renew_generation());
  RETURN_IF_ERROR(machine.devices_->restore(state->devices));
  return made;
}

base::Result<void> Machine::show_layers(std::span<const LayersWindow::Extent> extents) {
  if (progress_.started)
    return base::Error{base::Code::kConflict, "the machine has been started already"};
  if (extents.empty()) return {};
  RETURN_IF_ERROR(memory_.layers_window.show(extents));
  return platform_->show_window(extents.back().offset + extents.back().length);
}

base::Result<void> Machine::attach_network(std::uint32_t card, base::UniqueFd tap,
                                           const devices::NetDevice::Mac& mac) {
  const auto found = devices_->network_card(card);
  if (!found) return found.error();
  RETURN_IF_ERROR((*found)->attach(std::move(tap), mac));
  devices_->keep_kicks_of_card(calls_, card);
  return {};
}

base::Result<void> Machine::run() {
  if (progress_.started)
    return base::Error{base::Code::kConflict, "the machine has been started already"};
  progress_.started = true;
  const ThreadRestrictions& restrictions = settings_.restrictions;
  RETURN_IF_ERROR(devices_->start_disk_thread(restrictions.disk));
  if (progress_.restored) devices_->resume();
  RETURN_IF_ERROR(platform_->resume());
  start_vcpu_threads();  // each parks until the phase changes below
  const auto& restrict =
      progress_.restored ? restrictions.device_of_clone : restrictions.device_of_template;
  if (restrict) RETURN_IF_ERROR(restrict());
  control_.set_phase(RunControl::Phase::kRunning);
  progress_.running = true;
  return {};
}

void Machine::start_vcpu_threads() {
  for (kvm::Vcpu& vcpu : platform_->vcpus())
    threads_.push_back(std::make_unique<VcpuThread>(
        vcpu, *platform_, control_,
        VcpuThread::Settings{settings_.restrictions.vcpu,
                             [this](End end) { report_end(std::move(end)); }}));
}

void Machine::report_end(End end) {
  calls_.post([this, end = std::move(end)] { finish(end); });
}

void Machine::finish(End end) {
  if (std::exchange(progress_.ended, true)) return;
  if (saving_) saving_->settling.reset();
  park();
  if (saving_) {
    auto done = std::move(saving_->done);
    saving_.reset();
    done(base::Error{base::Code::kConflict, "the machine ended: " + end.message});
  }
  settings_.on_end(describe(std::move(end), console_tail()));
}

std::string Machine::console_tail() const { return devices_->console().tail(kConsoleTail); }

void Machine::park() {
  progress_.running = false;
  control_.set_phase(RunControl::Phase::kParked);
  for (const auto& thread : threads_) thread->kick();
}

base::Result<void> Machine::save_template(base::UniqueFd memory_file, base::UniqueFd state_file,
                                          std::function<void(base::Result<Saved>)> done) {
  if (saving_ || progress_.ended || progress_.restored)
    return base::Error{base::Code::kConflict,
                       "the machine is a clone, has ended or is being saved already"};
  std::unique_ptr<Settling> settling;
  if (progress_.running) {
    auto started = Settling::start(
        settings_.loop, [this] { return devices_->balloon().released_bytes(); },
        [this] { begin_saving(); });
    if (!started) return started.error();
    settling = *std::move(started);
  }
  saving_ =
      Saving{std::move(memory_file), std::move(state_file), std::move(done), std::move(settling)};
  if (!saving_->settling) begin_saving();
  return {};
}

void Machine::begin_saving() {
  saving_->settling.reset();
  park();
  on_parked();  // no thread reports if there are none, or if all are still parked from their start
}

void Machine::on_parked() {
  // Threads also park when they are started, or while a save still waits for the guest to settle.
  if (!saving_ || progress_.ended || progress_.running || !(threads_.empty() || control_.parked()))
    return;
  const Saving saving = *std::exchange(saving_, std::nullopt);
  saving.done(write_template(saving));
}

base::Result<Machine::Saved> Machine::write_template(const Saving& saving) {
  devices_->pause();
  StateFile state;
  state.build = settings_.build;
  state.shape = shape_;
  state.extents = find_used(memory_.ram.bytes(), kExtentGap);
  state.devices = devices_->save();
  state.streams = devices_->vsock().saveable_tags();
  wire::Encoder platform;
  RETURN_IF_ERROR(platform_->save(platform));
  state.platform = std::move(platform).take();
  RETURN_IF_ERROR(write_ram(saving.memory_file.get(), memory_.ram.bytes(), state.extents));
  RETURN_IF_ERROR(write_state(saving.state_file.get(), state));
  Saved saved;
  saved.streams = state.streams;
  for (const Extent& extent : state.extents) saved.resident_bytes += extent.length;
  return saved;
}

}  // namespace machine
