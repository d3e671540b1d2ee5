// containervm-clone-bench: how long a clone takes to be created, mapped and restored, and to be
// torn down, on any /dev/kvm that opens. No guest code runs, so a KVM that cannot run Linux will
// do.
//
// The template is made in the same run (a machine set up with some MiB of memory in use, and saved)
// or taken from a directory that a monitor of the same build filled: files `memory` and `state`.
#include <elf.h>
#include <fcntl.h>
#include <getopt.h>
#include <sys/mman.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "vmm/arch/platform.h"
#include "vmm/base/units.h"
#include "vmm/machine/machine.h"
#include "vmm/machine/state_file.h"

namespace {

using namespace base;  // NOLINT: the unit literals

struct Options {
  std::uint64_t rounds = 200;
  std::uint64_t memory_mib = 512;
  std::string json;
  std::string kvm = "/dev/kvm";
  std::string template_directory;
};

struct Template {
  launch::Shape shape;
  UniqueFd memory;
  UniqueFd state;
  std::string build;
};

constexpr char kUsage[] =
    "usage: containervm-clone-bench [--rounds N] [--memory MIB] [--json FILE] [--kvm DEVICE]\n"
    "                               [--template DIRECTORY]\n";

/// Roughly what a booted guest has in use: the template's memory file holds this much data.
constexpr std::uint64_t kUsedBytes = 32_MiB;
constexpr std::uint64_t kLoadAddress = 16_MiB;

UniqueFd anonymous_file(const char* name) { return UniqueFd(::memfd_create(name, MFD_CLOEXEC)); }

/// A "kernel" that is only data: nothing of it is ever run.
Result<UniqueFd> make_image() {
  UniqueFd file = anonymous_file("image");
  if (!file) return errno_error("memfd_create");
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_machine = arch::kElfMachine;
  header.e_type = ET_EXEC;
  header.e_entry = kLoadAddress;
  header.e_phoff = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 1;
  Elf64_Phdr segment{};
  segment.p_type = PT_LOAD;
  segment.p_offset = 4_KiB;
  segment.p_paddr = kLoadAddress;
  segment.p_filesz = segment.p_memsz = kUsedBytes;
  const std::vector<std::byte> data(kUsedBytes, std::byte{0xf4});
  if (::pwrite(file.get(), &header, sizeof header, 0) != sizeof header ||
      ::pwrite(file.get(), &segment, sizeof segment, sizeof header) != sizeof segment ||
      ::pwrite(file.get(), data.data(), data.size(), 4_KiB) != static_cast<ssize_t>(data.size()))
    return errno_error("write of the image");
  return file;
}

machine::Machine::Settings settings(EventLoop& loop, const std::string& build) {
  return {loop, {}, [](const launch::Stopped&) {}, build};
}

Result<Template> make_template(const kvm::System& system, EventLoop& loop, const Options& options) {
  Template made;
  made.build = machine::build_id();
  made.shape = {.vcpus = 1, .memory_bytes = options.memory_mib << 20};
  made.memory = anonymous_file("memory");
  made.state = anonymous_file("state");
  auto image = make_image();
  if (!image) return image.error();
  auto machine = machine::Machine::boot(system, settings(loop, made.build), made.shape,
                                        image->get(), -1, "nokaslr");
  if (!machine) return machine.error();
  Result<void> outcome;
  RETURN_IF_ERROR((*machine)->save_template(UniqueFd(::dup(made.memory.get())),
                                            UniqueFd(::dup(made.state.get())), [&](auto saved) {
                                              if (!saved) outcome = saved.error();
                                            }));
  if (!outcome) return outcome.error();
  return made;
}

Result<Template> open_template(const std::string& directory) {
  Template opened;
  opened.memory.reset(::open((directory + "/memory").c_str(), O_RDONLY | O_CLOEXEC));
  opened.state.reset(::open((directory + "/state").c_str(), O_RDONLY | O_CLOEXEC));
  if (!opened.memory || !opened.state) return errno_error("template in " + directory);
  const auto state = machine::read_state(opened.state.get(), std::nullopt);
  if (!state) return state.error();
  opened.shape = state->shape;
  opened.build = state->build;
  return opened;
}

struct Times {
  std::vector<double> restore;  // milliseconds
  std::vector<double> teardown;
};

Result<Times> measure(const kvm::System& system, EventLoop& loop, const Template& from,
                      std::uint64_t rounds) {
  using Clock = std::chrono::steady_clock;
  using Milliseconds = std::chrono::duration<double, std::milli>;
  Times times;
  for (std::uint64_t round = 0; round <= rounds; ++round) {
    const auto start = Clock::now();
    auto clone = machine::Machine::restore(system, settings(loop, from.build), from.shape,
                                           from.memory.get(), from.state.get());
    const auto restored = Clock::now();
    if (!clone) return clone.error();
    clone->reset();
    const auto gone = Clock::now();
    if (round == 0) continue;  // warms caches
    times.restore.push_back(Milliseconds(restored - start).count());
    times.teardown.push_back(Milliseconds(gone - restored).count());
  }
  return times;
}

std::string summary(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto percentile = [&](double part) {
    return values[static_cast<std::size_t>(std::lround(part * double(values.size() - 1)))];
  };
  char text[160];
  std::snprintf(text, sizeof text,
                R"({"p50": %.4f, "p90": %.4f, "min": %.4f, "max": %.4f, "n": %zu})",
                percentile(0.5), percentile(0.9), values.front(), values.back(), values.size());
  return text;
}

Result<void> write_report(const std::string& path, const std::string& report) {
  std::FILE* const file = std::fopen(path.c_str(), "w");
  if (file == nullptr) return errno_error(path);
  const bool written = std::fputs(report.c_str(), file) >= 0;
  if (std::fclose(file) != 0 || !written) return errno_error(path);
  return {};
}

bool parse_number(const char* text, std::uint64_t& value) {
  const char* const end = text + std::strlen(text);
  const auto parsed = std::from_chars(text, end, value);
  return parsed.ec == std::errc() && parsed.ptr == end && value > 0;
}

bool parse(int argc, char** argv, Options& options) {
  static constexpr option kLong[] = {
      {"rounds", required_argument, nullptr, 'r'},   {"memory", required_argument, nullptr, 'm'},
      {"json", required_argument, nullptr, 'j'},     {"kvm", required_argument, nullptr, 'k'},
      {"template", required_argument, nullptr, 't'}, {nullptr, 0, nullptr, 0},
  };
  for (int choice; (choice = ::getopt_long(argc, argv, "", kLong, nullptr)) != -1;) {
    switch (choice) {
      case 'r':
        if (!parse_number(optarg, options.rounds)) return false;
        break;
      case 'm':
        if (!parse_number(optarg, options.memory_mib)) return false;
        break;
      case 'j':
        options.json = optarg;
        break;
      case 'k':
        options.kvm = optarg;
        break;
      case 't':
        options.template_directory = optarg;
        break;
      default:
        return false;
    }
  }
  return optind == argc;
}

Result<void> bench(const Options& options) {
  UniqueFd device(::open(options.kvm.c_str(), O_RDWR | O_CLOEXEC));
  if (!device) return errno_error(options.kvm);
  auto system = kvm::System::adopt(std::move(device), arch::kRequirements);
  if (!system) return system.error();
  auto loop = EventLoop::create();
  if (!loop) return loop.error();
  const auto from = options.template_directory.empty() ? make_template(*system, **loop, options)
                                                       : open_template(options.template_directory);
  if (!from) return from.error();
  auto times = measure(*system, **loop, *from, options.rounds);
  if (!times) return times.error();
  const std::string report = "{\"create_map_restore\": " + summary(times->restore) +
                             ",\n \"teardown\": " + summary(times->teardown) + "}\n";
  std::fputs(report.c_str(), stdout);
  return options.json.empty() ? Result<void>() : write_report(options.json, report);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, options)) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  if (const auto done = bench(options); !done) {
    std::fprintf(stderr, "containervm-clone-bench: %s\n", done.error().message.c_str());
    return 1;
  }
  return 0;
}
