// containervmd: the Docker Engine API on virtual machines.
#include <spdlog/spdlog.h>

#include "api/privileged/host_files.h"
#include "api/privileged/host_groups.h"
#include "api/program/config_file.h"
#include "api/program/daemon.h"
#include "api/program/log.h"
#include "api/program/options.h"

namespace {

/// Opens the cgroups of this daemon and its machines. The daemon runs without them, too.
std::optional<engine::HostGroups> open_groups(const std::filesystem::path& state) {
  if (const auto done = engine::protect_from_oom(); !done)
    spdlog::warn("the daemon is not spared when memory runs out: {}", done.error().message);
  auto groups = engine::HostGroups::open(engine::host_tag(state));
  if (groups) return *std::move(groups);
  spdlog::warn("the daemon and its machines run without cgroups of their own: {}",
               groups.error().message);
  return std::nullopt;
}

}  // namespace

int main(int argc, char** argv) {
  program::ParsedOptions parsed = program::parse_options(argc, argv);
  if (!parsed.options) return parsed.exit_code;
  program::Options& options = *parsed.options;
  program::open_log(options.log_level);

  if (!options.config_file.empty()) {
    const auto read = program::read_config_file(options.config_file, options);
    if (!read) {
      spdlog::error("{}", read.error().message);
      return 1;
    }
  }
  program::take_proxies_from_environment(options);
  program::DaemonConfig config{
      .state = options.state, .socket = options.socket, .live_restore = options.live_restore};
  config.registries.settings.insecure = options.insecure_registries;
  config.registries.settings.mirrors = options.registry_mirrors;
  config.registries.settings.certificates = options.registry_certificates;
  config.registries.settings.proxies = options.proxies;
  config.signature_policy = options.signature_policy;
  config.signature_lookaside = options.signature_lookaside;
  // They are opened while the state is locked, before anything starts processes, and closed last.
  std::optional<engine::HostGroups> groups;
  config.open_images = [&](std::shared_ptr<images::Admission> admission) {
    groups = open_groups(options.state);
    return images::Store::open({.root = (options.state / "images").string(),
                                .tenant = "default",
                                .layer_tool = options.layer_tool.string(),
                                .layer_groups = groups ? groups->root().string() : "",
                                .limits = {},
                                .admission = std::move(admission)});
  };
  engine::host_files::Access host_access{.directories = options.host_directories,
                                         .own_socket = options.socket};
  for (const std::string& name : options.socket_names) host_access.own_names.push_back(name);
  config.open_machines = [&](boost::asio::io_context& io, const std::string& host_id) {
    return engine::MachineHost::open(io, {.state = options.state,
                                          .kernel = options.kernel,
                                          .initramfs = options.initramfs,
                                          .monitor = options.monitor,
                                          .file_server = options.file_server,
                                          .host_access = host_access,
                                          .host_id = host_id,
                                          .tenant = "default",
                                          .default_shape = config.default_shape,
                                          .pool = options.pool,
                                          .networking = options.networking,
                                          .bridge = {},
                                          .subnet = {},
                                          .port_list = options.port_list,
                                          .link_local = options.link_local,
                                          .group_root = groups ? groups->root() : ""});
  };
  const auto result = program::run_daemon(config);
  if (result) return 0;
  spdlog::error("{}", result.error().message);
  return 1;
}
