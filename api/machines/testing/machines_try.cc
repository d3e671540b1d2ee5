// machines-try: starts machines with a real kernel, guest-init and monitor, without the API: one
// command in each, its output, exit and times on standard output. For trying changes to the start
// path by hand and for the integration tests (needs root and a working /dev/kvm).
//
//   machines-try --state DIR --kernel FILE --init FILE --vmm FILE --layer FILE [--count N]
//                [--pool N] [--network] [--write-back] [--stdin TEXT] [--beside COMMAND]
//                [--leave | --adopt]
//                -- COMMAND [ARG...]
// --beside runs a shell command in a second container, twice with the same disk, while the first
// one runs. --leave dies as by kill -9 once the first machine's process runs; --adopt goes on with
// it.
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "api/machines/machine_host.h"
#include "vmm/base/scope_exit.h"

namespace {

using namespace engine;
namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

struct Options {
  MachineHostConfig host;
  fs::path layer;
  int count = 1;
  bool network = false;
  bool write_back = false;
  bool leave = false;
  bool adopt = false;
  std::string input;
  std::string beside;  // a shell command for a second container
  std::vector<std::string> command;
};

class PrintingSink : public OutputSink {
 public:
  net::awaitable<void> write(protocol::Stream stream, std::vector<std::byte> bytes) override {
    FILE* const to = stream == protocol::Stream::kStderr ? stderr : stdout;
    std::fwrite(bytes.data(), 1, bytes.size(), to);
    std::fflush(to);
    co_return;
  }
};

double since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

constexpr std::uint64_t kDockerCapabilities = 0xa80425fb;
/// One for all: a run with --adopt must know the one before it.
constexpr protocol::Secret kSecret = {'t', 'r', 'y'};

net::awaitable<base::Result<MachineSpec>> machine_for(MachineHost& host, const Options& options,
                                                      int number) {
  MachineSpec spec;
  spec.id = "try-" + std::to_string(number);
  spec.shape = options.host.default_shape;
  spec.machine_id = fmt::format("{:032x}", number + 1);
  spec.secret = kSecret;
  if (options.network) {
    EndpointRequest request{.network = kDefaultNetwork};
    auto endpoint = co_await host.networks().connect(std::move(request));
    if (!endpoint) co_return std::move(endpoint).error();
    spec.endpoints.push_back(*std::move(endpoint));
  }
  co_return std::move(spec);
}

/// A container of this number, on `disk`, whose process has its number, too.
ContainerSpec container_for(MachineHost& host, const Options& options, const fs::path& disk,
                            ContainerNumber number) {
  ContainerSpec spec;
  spec.layers = {{options.layer, fs::file_size(options.layer)}};
  spec.disk = disk;
  spec.settings.container = number;
  spec.settings.hostname = "container-" + std::to_string(number);
  spec.settings.hostname_file = spec.settings.hostname + "\n";
  spec.settings.hosts_file = "127.0.0.1\tlocalhost\n";
  spec.settings.resolv_conf_file = host.networks().resolv_conf({});
  spec.process.container = number;
  spec.process.process = number;
  spec.process.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
  spec.process.capabilities = kDockerCapabilities;
  spec.sink = std::make_shared<PrintingSink>();
  return spec;
}

base::Error refused(const protocol::Failure& refusal) {
  return {base::Code::kNotFound, refusal.stage + ": " + refusal.message};
}

/// A second container beside the first, twice on the same disk.
net::awaitable<base::Result<void>> run_beside(MachineHost& host, const Options& options,
                                              Machine& machine) {
  constexpr ContainerNumber kSecond = 2;
  const fs::path disk = options.host.state / (machine.id() + "-second.ext4");
  const base::ScopeExit remove_disk([disk] { fs::remove(disk); });
  if (auto made = co_await host.disks().create(disk); !made) co_return std::move(made).error();
  for (ProcessId process : {kSecond, kSecond + 1}) {
    const auto begin = Clock::now();
    ContainerSpec spec = container_for(host, options, disk, kSecond);
    spec.process.process = process;
    spec.process.argv = {"sh", "-c", options.beside};
    auto started = co_await machine.add_container(std::move(spec));
    if (!started) co_return std::move(started).error();
    if (started->refusal) co_return refused(*started->refusal);
    const double start_ms = since(begin);
    const auto status = co_await machine.wait_exit(process);
    if (!status) co_return status.error();
    if (auto removed = co_await machine.remove_container(kSecond, std::chrono::seconds(60));
        !removed)
      co_return std::move(removed).error();
    std::printf("beside: exit %d; start %.1f ms, gone %.1f ms\n", status->code, start_ms,
                since(begin));
  }
  co_return base::Result<void>();
}

/// The first process's input, what is to happen beside it, and its exit.
net::awaitable<base::Result<protocol::ExitStatus>> attend(MachineHost& host, const Options& options,
                                                          Machine& machine) {
  if (!options.beside.empty())
    if (auto ran = co_await run_beside(host, options, machine); !ran)
      co_return std::move(ran).error();
  if (!options.input.empty()) {
    const auto* bytes = reinterpret_cast<const std::byte*>(options.input.data());
    std::vector<std::byte> input(bytes, bytes + options.input.size());
    const auto written = co_await machine.write_stdin(1, std::move(input));
    if (!written) co_return written.error();
    machine.close_stdin(1);
  }
  co_return co_await machine.wait_exit(1);
}

net::awaitable<base::Result<void>> run_one(MachineHost& host, const Options& options, int number) {
  auto spec = co_await machine_for(host, options, number);
  if (!spec) co_return std::move(spec).error();
  const fs::path disk = options.host.state / (spec->id + ".ext4");
  const base::ScopeExit remove_disk([disk] { fs::remove(disk); });
  if (auto made = co_await host.disks().create(disk); !made) co_return std::move(made).error();
  const auto begin = Clock::now();
  const auto obtained = co_await host.machines().obtain(std::move(*spec));
  if (!obtained) co_return obtained.error();
  Machine& machine = **obtained;
  ContainerSpec container = container_for(host, options, disk, kMainContainer);
  container.process.argv = options.command;
  container.process.open_stdin = !options.input.empty();
  const auto started = co_await machine.add_container(std::move(container));
  if (!started) co_return started.error();
  const double start_ms = since(begin);
  if (options.leave) std::_Exit(0);
  if (started->refusal) co_return refused(*started->refusal);
  const auto status = co_await attend(host, options, machine);
  const double exit_ms = since(begin);
  if (options.write_back) {
    co_await machine.shutdown(std::chrono::seconds(30));
  } else {
    machine.kill();
  }
  const MachineEnd end = co_await machine.wait_stopped();
  if (!status) co_return status.error();
  std::printf("machine %d: %s %d; start %.1f ms, exit %.1f ms, gone %.1f ms (%s)\n", number,
              status->signaled ? "signal" : "exit", status->code, start_ms, exit_ms, since(begin),
              end.message.c_str());
  std::fflush(stdout);
  co_return base::Result<void>();
}

/// Goes on with the machine that a run with --leave started.
net::awaitable<base::Result<void>> adopt_one(MachineHost& host, const Options& options) {
  AdoptSpec spec;
  spec.id = "try-0";
  spec.secret = kSecret;
  spec.processes[1].sink = std::make_shared<PrintingSink>();
  const base::ScopeExit remove_disk(
      [disk = options.host.state / "try-0.ext4"] { fs::remove(disk); });
  const auto machine = co_await host.machines().adopt(std::move(spec));
  co_await host.machines().remove_left_over();
  if (!machine) co_return machine.error();
  const auto status = co_await (*machine)->wait_exit(1);
  (*machine)->kill();
  co_await (*machine)->wait_stopped();
  if (!status) co_return status.error();
  std::printf("adopted machine: exit %d\n", status->code);
  co_return base::Result<void>();
}

net::awaitable<void> run_all(net::io_context& io, MachineHost& host, const Options& options,
                             int* exit_code) {
  for (int i = 0; i < options.count; ++i) {
    auto done = options.adopt ? adopt_one(host, options) : run_one(host, options, i);
    const auto result = co_await std::move(done);
    if (result) continue;
    std::printf("machine %d failed: %s\n", i, result.error().message.c_str());
    *exit_code = 1;
    break;
  }
  co_await host.close();
  io.stop();
}

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--") {
      options.command.assign(argv + i + 1, argv + argc);
      break;
    }
    bool* flag = nullptr;
    if (name == "--write-back") flag = &options.write_back;
    if (name == "--leave") flag = &options.leave;
    if (name == "--adopt") flag = &options.adopt;
    if (name == "--network") flag = &options.network;
    if (flag != nullptr) {
      *flag = true;
      continue;
    }
    if (++i >= argc) return false;
    if (name == "--state") options.host.state = fs::absolute(argv[i]);
    if (name == "--kernel") options.host.kernel = argv[i];
    if (name == "--init") options.host.initramfs = argv[i];
    if (name == "--vmm") options.host.monitor = fs::absolute(argv[i]);
    if (name == "--layer") options.layer = argv[i];
    if (name == "--count") options.count = std::atoi(argv[i]);
    if (name == "--pool") options.host.pool = static_cast<std::size_t>(std::atoi(argv[i]));
    if (name == "--stdin") options.input = argv[i];
    if (name == "--beside") options.beside = argv[i];
  }
  return !options.command.empty() && !options.layer.empty();
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, options)) {
    std::fputs("usage: see the top of machines_try.cc\n", stderr);
    return 2;
  }
  spdlog::set_default_logger(spdlog::stderr_logger_st("try"));
  spdlog::set_level(spdlog::level::debug);
  options.host.networking = options.network;
  net::io_context io(1);
  auto host = MachineHost::open(io, options.host);
  if (!host) {
    std::fprintf(stderr, "%s\n", host.error().message.c_str());
    return 1;
  }
  int exit_code = 0;
  net::co_spawn(io, run_all(io, **host, options, &exit_code), net::detached);
  io.run();
  return exit_code;
}
