#include "api/engine/containers/launcher.h"

#include <spdlog/spdlog.h>

#include <stop_token>
#include <utility>

#include "api/engine/container/machine_spec.h"
#include "api/engine/security/capabilities.h"
#include "api/engine/state/identifiers.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

Result<void> Launcher::check_limit(const Settings& settings) const {
  const auto memory = parts_.host_memory();
  if (!memory) return memory.error();
  return admit_limit(settings.host_config.at("Memory").get<std::uint64_t>(), *memory);
}

/// For one more machine.
Result<void> Launcher::check_room() const {
  const auto memory = parts_.host_memory();
  if (!memory) return memory.error();
  return admit_machine(*memory);
}

Result<void> Launcher::check(const Container& container) const {
  RETURN_IF_ERROR(check_limit(container.settings));
  const StartContext trial{
      .endpoint = std::nullopt, .resolv_conf = {}, .default_shape = parts_.default_shape};
  const auto possible = machine_spec_for(container, trial);
  if (!possible) return possible.error();
  return {};
}

net::awaitable<void> Launcher::prepare() {
  const auto filter = co_await parts_.seccomp.get(std::string(), kDefaultCapabilities);
  if (!filter) spdlog::error("the default seccomp profile: {}", filter.error().message);
}

net::awaitable<Result<std::vector<EndpointLease>>> Launcher::connect(ContainerPtr container) {
  std::vector<EndpointLease> endpoints;
  const std::string mode = container->settings.network_mode();
  if (mode == "none") co_return std::move(endpoints);
  auto endpoint = co_await parts_.networks.connect(mode);
  if (!endpoint && endpoint.error().code == Code::kNotFound)
    co_return Error{Code::kNotFound, "network " + mode.substr(0, 128) + " not found"};
  if (!endpoint) co_return std::move(endpoint).error();
  endpoints.push_back(*std::move(endpoint));
  co_return std::move(endpoints);
}

Result<void> Launcher::renew_secret(Container& container) {
  container.state.machine_secret = random_secret();
  return parts_.table.commit(container);
}

net::awaitable<Result<Run>> Launcher::launch(ContainerPtr container) {
  RETURN_IF_ERROR_ASYNC(check_room());
  if (auto allowed = co_await parts_.storage.check_image(container); !allowed)
    co_return std::move(allowed).error();
  RETURN_IF_ERROR_ASYNC(renew_secret(*container));
  if (auto logging = co_await parts_.storage.logs().begin(container, false); !logging)
    co_return base::annotate(std::move(logging).error(), "failed to create task for container");
  auto claimed = co_await parts_.volumes.claims().claim(container);
  if (!claimed) co_return std::move(claimed).error();
  auto endpoints = co_await connect(container);
  if (!endpoints) co_return std::move(endpoints).error();
  std::optional<Endpoint> endpoint;
  if (!endpoints->empty()) endpoint = endpoints->front().endpoint();
  const nlohmann::json& host = container->settings.host_config;
  StartContext context{.endpoint = endpoint,
                       .resolv_conf = parts_.networks.resolv_conf(
                           host.at("Dns"), host.at("DnsSearch"), host.at("DnsOptions")),
                       .default_shape = parts_.default_shape,
                       .mount_disks = parts_.volumes.disks(*container)};
  auto spec = machine_spec_for(*container, std::move(context));
  if (!spec) co_return std::move(spec).error();
  spec->endpoints = *std::move(endpoints);
  auto filter = co_await seccomp_filter_for(parts_.seccomp, container);
  if (!filter) co_return std::move(filter).error();
  apply_seccomp_filter(*filter, spec->process);
  const std::string argv0 = spec->process.argv.at(0);
  container->launching = std::stop_source();
  spec->abandoned = container->launching.get_token();
  auto started = co_await parts_.machines.start(*std::move(spec));
  if (!started) co_return std::move(started).error();
  if (started->first.refusal) {
    const StartRefusal refusal = explain_refusal(*started->first.refusal, argv0);
    container->state.exit_code = refusal.exit_code;
    // dockerd looks the user up itself, before it makes a task.
    if (started->first.refusal->kind == protocol::FailureKind::kNoSuchUser)
      co_return Error{Code::kInternal, refusal.message};
    co_return Error{Code::kInvalidArgument,
                    "failed to create task for container: " + refusal.message};
  }
  container->state.endpoint = std::move(endpoint);
  if (container->state.endpoint)
    parts_.events.publish_connected(*container, *container->state.endpoint);
  parts_.events.publish_mounted(*container);
  co_return Run{.machine = std::move(started->machine), .volumes = *std::move(claimed)};
}

net::awaitable<Result<StartedMachine>> Launcher::launch_files_tool(ContainerPtr container,
                                                                   protocol::StartProcess process,
                                                                   std::shared_ptr<OutputSink> sink,
                                                                   bool sees_volumes) {
  RETURN_IF_ERROR_ASYNC(check_room());
  RETURN_IF_ERROR_ASYNC(renew_secret(*container));
  std::vector<std::filesystem::path> disks;
  if (sees_volumes) disks = parts_.volumes.disks(*container);
  auto spec = machine_spec_for(*container, StartContext{.endpoint = std::nullopt,
                                                        .resolv_conf = {},
                                                        .default_shape = parts_.default_shape,
                                                        .mount_disks = std::move(disks)});
  if (!spec) co_return std::move(spec).error();
  // Only the disks are the container's: its limits and tmpfs are for its own processes.
  spec->shape = parts_.default_shape;
  spec->weights = {};
  spec->container.limits = {};
  spec->container.sysctls.clear();
  spec->container.tmpfs.clear();
  spec->process = std::move(process);
  spec->sink = std::move(sink);
  container->files_launching = std::stop_source();
  spec->abandoned = container->files_launching.get_token();
  co_return co_await parts_.machines.start(*std::move(spec));
}

net::awaitable<Result<Run>> Launcher::adopt(ContainerPtr container) {
  const auto logged = co_await parts_.storage.logs().begin(container, true);
  if (!logged) spdlog::error("container {}: {}", container->short_id(), logged.error().message);
  AdoptSpec spec{.id = container->id,
                 .endpoints = {},
                 .secret = container->state.machine_secret,
                 .processes = {},
                 .kill_unknown_from = kFirstFilesProcess};
  if (container->state.endpoint) spec.endpoints.push_back(*container->state.endpoint);
  AdoptSpec::Process process{.sink = container->output,
                             .open_stdin = container->settings.open_stdin(),
                             .stdout_bytes = std::nullopt,
                             .stderr_bytes = std::nullopt,
                             .tty = container->settings.tty()};
  if (logged && *logged) {
    process.stdout_bytes = (*logged)->out;
    process.stderr_bytes = (*logged)->err;
  }
  spec.processes.emplace(kMainProcess, std::move(process));
  auto machine = co_await parts_.machines.adopt(std::move(spec));
  if (!machine) co_return std::move(machine).error();
  co_return Run{.machine = *std::move(machine), .volumes = parts_.volumes.claims().hold(container)};
}

net::awaitable<Result<Run>> Launcher::adopt_ended(ContainerPtr container) {
  AdoptSpec spec;
  spec.id = container->id;
  spec.secret = container->state.machine_secret;
  auto machine = co_await parts_.machines.adopt(std::move(spec));
  if (!machine) co_return std::move(machine).error();
  co_return Run{.machine = *std::move(machine), .volumes = parts_.volumes.claims().hold(container)};
}

}  // namespace engine
