#include "api/machines/machine_host.h"

#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <functional>

#include "api/async/blocking_pool.h"
#include "api/machines/disks/ext4_disks.h"
#include "api/machines/local_machines.h"
#include "api/machines/templates/kernel_release.h"
#include "api/machines/templates/templates.h"
#include "api/networks/bridge_networks.h"
#include "api/privileged/host_groups.h"
#include "api/privileged/local_privileged.h"
#include "api/privileged/uid_range.h"

namespace engine {

namespace {

using base::Code;
using base::Error;
using base::Result;
namespace fs = std::filesystem;

constexpr std::size_t kBlockingThreads = 4;
constexpr std::size_t kReadyDisks = 4;

Result<void> check_inputs(const MachineHostConfig& config) {
  const std::pair<fs::path, const char*> inputs[] = {{config.kernel, "the guest kernel"},
                                                     {config.initramfs, "guest-init's initramfs"},
                                                     {config.monitor, "the monitor"}};
  for (const auto& [path, what] : inputs)
    if (::access(path.c_str(), R_OK) != 0)
      return base::annotate(base::errno_error(path.string()), std::string("cannot read ") + what);
  if (!config.state.is_absolute())
    return Error{Code::kInvalidArgument, "the state directory must be an absolute path"};
  return {};
}

/// Every machine costs the daemon about a dozen descriptors.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

class LocalMachineHost final : public MachineHost {
 public:
  LocalMachineHost(net::io_context& io, const MachineHostConfig& config, UidRange uids)
      : config_(config),
        executor_(io.get_executor()),
        rights_(config, std::move(uids)),
        launcher_(rights_.privileged, executor_, blocking_,
                  {.run = config.state / "run" / "machines",
                   .program = config.monitor,
                   .file_server = config.file_server}),
        templates_(executor_, blocking_, launcher_,
                   {.root = config.state / "templates",
                    .kernel = config.kernel,
                    .initramfs = config.initramfs,
                    .monitor = config.monitor,
                    .tenant = config.tenant}),
        disks_(executor_, blocking_, config.state / "disks", kReadyDisks),
        blocking_(kBlockingThreads) {}

  Result<void> open() {
    RETURN_IF_ERROR(check_inputs(config_));
    auto release = engine::kernel_release(config_.kernel);
    if (!release) return base::annotate(std::move(release).error(), "the guest kernel");
    kernel_release_ = *std::move(release);
    raise_descriptor_limit();
    std::error_code error;
    for (const fs::path& directory : {launcher_.config().run, config_.state / "templates"})
      if (fs::create_directories(directory, error); error)
        return Error{Code::kInternal, "make " + directory.string() + ": " + error.message()};
    RETURN_IF_ERROR(disks_.open());
    if (config_.networking) RETURN_IF_ERROR(open_networks());
    machines_.emplace(CloneMachine::Context{executor_, launcher_}, templates_, networks_.get(),
                      config_.default_shape, config_.pool);
    machines_->open();
    return {};
  }

  Machines& machines() override { return *machines_; }
  Disks& disks() override { return disks_; }
  std::string kernel_release() const override { return kernel_release_; }
  Networks& networks() override {
    if (networks_) return *networks_;
    return no_networks_;
  }

  net::awaitable<void> close() override {
    co_await machines_->close();
    co_await disks_.close();
    if (networks_) co_await networks_->close();
  }

 private:
  /// The networks of a host whose networking is switched off.
  class NoNetworks final : public Networks {
   public:
    const NetworkSpec* find(const std::string&) const override { return nullptr; }
    net::awaitable<Result<NetworkSpec>> create(NetworkSpec, bool) override {
      co_return switched_off();
    }
    net::awaitable<Result<void>> remove(std::string) override { co_return switched_off(); }
    net::awaitable<Result<EndpointLease>> connect(EndpointRequest) override {
      co_return switched_off();
    }
    net::awaitable<Result<EndpointLease>> resume(Endpoint) override { co_return switched_off(); }
    net::awaitable<Result<PortLease>> publish(PortRequest) override { co_return switched_off(); }
    net::awaitable<Result<PortLease>> resume_port(PublishedPort) override {
      co_return switched_off();
    }
    std::string resolv_conf(ResolverRequest) const override { return {}; }

   private:
    static Error switched_off() {
      return {Code::kNotSupported, "networking is switched off: use --network none"};
    }
    void take_back(const Endpoint&) override {}
    void take_back_port(const PublishedPort&, base::UniqueFd) override {}
  };

  Result<void> open_networks() {
    BridgeNetworks::Config config;
    config.tag = host_tag(config_.state);
    config.bridge = config_.bridge;
    config.subnet = config_.subnet;
    config.host_id = config_.host_id;
    config.link_local = config_.link_local;
    auto networks = BridgeNetworks::open(executor_, rights_.acts, rights_.privileged, config);
    if (!networks) return base::annotate(std::move(networks).error(), "set up the network");
    networks_ = std::move(*networks);
    return {};
  }

  struct Rights {
    Rights(const MachineHostConfig& config, UidRange range)
        : uids(std::move(range)),
          acts({.group_root = config.group_root,
                .port_list = config.port_list,
                .host_access = config.host_access,
                .first_uid = uids.first_uid()}),
          privileged(acts) {}

    UidRange uids;
    LocalPrivileged acts;
    Privileged privileged;
  };

  MachineHostConfig config_;
  std::string kernel_release_;
  net::any_io_executor executor_;
  Rights rights_;
  MonitorLauncher launcher_;
  Templates templates_;
  Ext4Disks disks_;
  NoNetworks no_networks_;
  std::unique_ptr<BridgeNetworks> networks_;
  std::optional<LocalMachines> machines_;
  async::BlockingPool blocking_;  // last: its threads end before what they use
};

}  // namespace

Result<std::unique_ptr<MachineHost>> MachineHost::open(net::io_context& io,
                                                       MachineHostConfig config) {
  auto uids = UidRange::claim(config.uid_registry, config.state);
  if (!uids) return base::annotate(std::move(uids).error(), "uids for monitors");
  auto host = std::make_unique<LocalMachineHost>(io, config, *std::move(uids));
  RETURN_IF_ERROR(host->open());
  return std::unique_ptr<MachineHost>(std::move(host));
}

}  // namespace engine
