#include "api/engine/containers/launcher.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <stop_token>
#include <utility>

#include "api/engine/process/start_refusal.h"
#include "api/engine/security/capabilities.h"
#include "api/engine/state/identifiers.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

/// For the end of a machine that nothing is in.
constexpr std::chrono::milliseconds kEmptyMachinePatience{20'000};
/// Of a machine's ID: hexadecimal digits that no other machine of the same container has.
constexpr std::size_t kOwnPart = 16;

}  // namespace

// Machines may hold processes that an earlier daemon numbered: begin where none of them is.
Launcher::Launcher(Parts parts)
    : parts_(std::move(parts)), joined_(static_cast<std::uint32_t>(now_ns() / 1'000'000'000)) {}

Result<void> Launcher::check_limit(const Limits& limits) const {
  const auto memory = parts_.host_memory();
  if (!memory) return memory.error();
  return admit_limit(limits.guest.memory_bytes, *memory);
}

/// For one more machine.
Result<void> Launcher::check_room() const {
  const auto memory = parts_.host_memory();
  if (!memory) return memory.error();
  return admit_machine(*memory);
}

Result<void> Launcher::check(const Settings& settings) const {
  const Limits& limits = settings.limits;
  RETURN_IF_ERROR(check_limit(limits));
  if (!settings.sharing.joins())
    RETURN_IF_ERROR(check_cpuset(limits, shape_of(limits, parts_.default_shape).vcpus));
  return check_devices(limits);
}

net::awaitable<void> Launcher::prepare() {
  const auto filter = co_await parts_.seccomp.get(std::string(), kDefaultCapabilities);
  if (!filter) spdlog::error("the default seccomp profile: {}", filter.error().message);
}

FindContainer Launcher::finder() const {
  return [&table = parts_.table](std::string_view named) { return table.find(named); };
}

launch::Shape Launcher::shape_for_all(const Container& container) const {
  launch::Shape shape = shape_of(container.settings.limits, parts_.default_shape);
  const auto joiners = joiners_of(container, parts_.table.list(), finder());
  if (joiners.empty() && !container.settings.sharing.shareable_ipc) return shape;
  const auto bytes_of = [&](const Container& one) {
    const std::uint64_t limit = one.settings.limits.guest.memory_bytes;
    return limit != 0 ? limit : parts_.default_shape.memory_bytes;
  };
  std::uint64_t bytes = bytes_of(container);
  for (const ContainerPtr& joiner : joiners) {
    bytes += bytes_of(*joiner);
    shape.vcpus =
        std::max(shape.vcpus, shape_of(joiner->settings.limits, parts_.default_shape).vcpus);
  }
  // Others may come that are not there yet: who says "shareable" expects them.
  if (container.settings.sharing.shareable_ipc) bytes = std::max(bytes, parts_.shared_bytes);
  // More than the host has is of no use, and would cost descriptions of its pages.
  if (const auto host = parts_.host_memory()) bytes = std::min(bytes, host->total_bytes / 2);
  const launch::Shape for_all = shape_for(bytes, 0, parts_.default_shape);
  shape.memory_bytes = std::max(shape.memory_bytes, for_all.memory_bytes);
  return shape;
}

Result<void> Launcher::check_fits(const Container& container, const Container& donor) const {
  const launch::Shape& has = donor.state.machine.shape;
  if (has.memory_bytes == 0) return {};  // an earlier daemon did not keep it
  const launch::Shape wanted = shape_of(container.settings.limits, {.vcpus = 1, .memory_bytes = 0});
  const auto too_small = [&](const std::string& what, const std::string& limit) {
    return Error{Code::kConflict,
                 "the machine of container " + donor.name + ", which this one would be in, has " +
                     what +
                     ": it is made for the limits of those that are there when it starts; "
                     "restart " +
                     donor.name + ", or lower this container's limit of " + limit};
  };
  if (wanted.memory_bytes > has.memory_bytes)
    return too_small(std::to_string(has.memory_bytes >> 20) + " MiB of memory", "memory");
  if (wanted.vcpus > has.vcpus) return too_small(std::to_string(has.vcpus) + " CPUs", "CPUs");
  return check_cpuset(container.settings.limits, has.vcpus);
}

Result<void> Launcher::renew_machine(Container& container, launch::Shape shape) {
  container.state.machine.id = container.short_id() + "-" + random_id().substr(0, kOwnPart);
  container.state.machine.number = kMainContainer;
  container.state.machine.process = kMainProcess;
  container.state.machine.shape = shape;
  container.state.machine.secret = random_secret();
  return parts_.table.commit(container);
}

ProcessId Launcher::next_process() {
  constexpr ProcessId kNumbers = kLastJoinedProcess - kFirstJoinedProcess + 1;
  return kFirstJoinedProcess + joined_++ % kNumbers;
}

Result<void> Launcher::take_place(Container& container, const Container& donor) {
  const std::vector<ContainerNumber> taken = donor.run.machine->containers();
  ContainerNumber number = kMainContainer + 1;
  while (std::find(taken.begin(), taken.end(), number) != taken.end()) ++number;
  if (number > kMostContainers)
    return Error{Code::kResourceExhausted, "the machine of container " + donor.name + " has " +
                                               std::to_string(taken.size()) +
                                               " containers, and takes no more"};
  MachineRecord& place = container.state.machine;
  place.id = machine_of(donor);
  place.secret = donor.state.machine.secret;
  place.shape = donor.state.machine.shape;
  place.number = number;
  place.process = next_process();
  return parts_.table.commit(container);
}

Result<void> Launcher::take_names(Container& container, const Container& donor) {
  auto named = settings_named_as(container.settings, donor.settings);
  if (!named) return std::move(named).error();
  if (named->document.config == container.settings.document.config) return {};
  RETURN_IF_ERROR(parts_.table.commit_settings(container, *named));
  container.settings = *std::move(named);
  return {};
}

/// What is to be so before anything is taken for a run.
net::awaitable<Result<void>> Launcher::prepare_run(ContainerPtr container, launch::Shape& shape) {
  const auto donors = find_donors(*container, finder());
  if (!donors) co_return donors.error();
  if (const ContainerPtr& donor = donors->any()) {
    RETURN_IF_ERROR_ASYNC(check_fits(*container, *donor));
  } else {
    RETURN_IF_ERROR_ASYNC(check_room());
  }
  if (auto allowed = co_await parts_.storage.check_image(container); !allowed)
    co_return std::move(allowed).error();
  shape = donors->any() ? donors->any()->state.machine.shape : shape_for_all(*container);
  if (donors->network) co_return take_names(*container, *donors->network);
  co_return donors->any() ? Result<void>() : renew_machine(*container, shape);
}

net::awaitable<Result<Run>> Launcher::launch(ContainerPtr container) {
  launch::Shape shape;
  if (auto prepared = co_await prepare_run(container, shape); !prepared)
    co_return std::move(prepared).error();
  const bool joins = container->settings.sharing.joins();
  if (auto logging = co_await parts_.storage.logs().begin(container, false); !logging)
    co_return base::annotate(std::move(logging).error(), "failed to create task for container");
  auto claimed = co_await parts_.volumes.claims().claim(container);
  if (!claimed) co_return std::move(claimed).error();
  auto linked = parts_.attachments.linked(*container);
  if (!linked) co_return std::move(linked).error();
  container->run.linked = *std::move(linked);
  Result<Attached> attached{Attached()};
  if (!joins) attached = co_await parts_.attachments.attach(container);
  if (!attached) co_return std::move(attached).error();
  std::vector<Endpoint> places = attached->places();
  auto sources = co_await parts_.volumes.sources(container);
  if (!sources) co_return std::move(sources).error();
  StartContext context{.endpoints = places,
                       .resolv_conf = parts_.attachments.resolv_conf(*container, places),
                       .shape = shape,
                       .mount_sources = *std::move(sources)};
  auto spec = run_spec_for(*container, std::move(context));
  if (!spec) co_return std::move(spec).error();
  spec->machine.endpoints = std::move(attached->endpoints);
  spec->machine.names = parts_.attachments.name_server();
  auto filter = co_await seccomp_filter_for(parts_.seccomp, container);
  if (!filter) co_return std::move(filter).error();
  apply_seccomp_filter(*filter, spec->container.process);
  const std::string argv0 = spec->container.process.argv.at(0);
  auto started = co_await start(container, *std::move(spec));
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
  container->state.machine.endpoints = std::move(places);
  for (const PortLease& lease : attached->ports)
    container->state.machine.ports.push_back(lease.port());
  container->run.ports = std::move(attached->ports);
  parts_.events.publish_mounted(*container);
  for (const Endpoint& endpoint : container->state.machine.endpoints)
    parts_.catalog.publish_connected(container->id, endpoint);
  co_return Run{.machine = std::move(started->machine),
                .pid = started->first.pid,
                .volumes = *std::move(claimed),
                .names = std::move(attached->names)};
}

net::awaitable<Result<Launcher::Started>> Launcher::start(ContainerPtr container, RunSpec spec) {
  container->run.launching = std::stop_source();
  const std::stop_token abandoned = container->run.launching.get_token();
  if (!container->settings.sharing.joins()) co_return co_await begin(std::move(spec), abandoned);
  spec.container.abandoned = abandoned;
  co_return co_await join(container, std::move(spec.container));
}

/// Nothing is waited for between the look at the donors and the moment when the machine has the
/// container on its way in: while one runs in a machine, nobody ends that.
net::awaitable<Result<Launcher::Started>> Launcher::join(ContainerPtr container,
                                                         ContainerSpec spec) {
  const auto donors = find_donors(*container, finder());
  if (!donors) co_return donors.error();
  const ContainerPtr donor = donors->any();
  RETURN_IF_ERROR_ASYNC(check_fits(*container, *donor));
  RETURN_IF_ERROR_ASYNC(take_place(*container, *donor));
  const MachineRecord& place = container->state.machine;
  spec.settings.namespaces = namespaces_of(*container, *donors);
  spec.settings.container = place.number;
  spec.process.container = place.number;
  spec.process.process = place.process;
  container->run.process->set_id(place.process);
  const std::shared_ptr<Machine> machine = donor->run.machine;
  auto first = co_await machine->add_container(std::move(spec));
  if (first && !first->refusal) co_return Started{machine, *std::move(first)};
  // If all others have left meanwhile, the machine is left to whoever was on the way in.
  if (machine->containers().empty()) co_await machine->shutdown(kEmptyMachinePatience);
  if (!first) co_return std::move(first).error();
  co_return Started{nullptr, *std::move(first)};
}

net::awaitable<Result<Launcher::Started>> Launcher::begin(RunSpec spec, std::stop_token abandoned) {
  spec.machine.abandoned = abandoned;
  spec.container.abandoned = std::move(abandoned);
  const auto machine = co_await parts_.machines.obtain(std::move(spec.machine));
  if (!machine) co_return machine.error();
  auto first = co_await (*machine)->add_container(std::move(spec.container));
  if (first && !first->refusal) co_return Started{*machine, *std::move(first)};
  (*machine)->kill();
  co_await (*machine)->wait_stopped();
  if (!first) co_return std::move(first).error();
  co_return Started{nullptr, *std::move(first)};
}

net::awaitable<Result<Launcher::Started>> Launcher::launch_files_tool(
    ContainerPtr container, protocol::StartProcess process, std::shared_ptr<OutputSink> sink,
    bool sees_volumes) {
  RETURN_IF_ERROR_ASYNC(check_room());
  RETURN_IF_ERROR_ASYNC(renew_machine(*container, parts_.default_shape));
  Result<std::vector<MountSource>> sources{std::vector<MountSource>()};
  if (sees_volumes) sources = co_await parts_.volumes.sources(container);
  if (!sources) co_return std::move(sources).error();
  const launch::Shape own = shape_of(container->settings.limits, parts_.default_shape);
  auto spec = run_spec_for(
      *container,
      StartContext{
          .endpoints = {}, .resolv_conf = {}, .shape = own, .mount_sources = *std::move(sources)});
  if (!spec) co_return std::move(spec).error();
  // Only the disks are the container's: its limits and tmpfs are for its own processes.
  spec->machine.shape = parts_.default_shape;
  spec->machine.weights = {};
  spec->container.settings.limits = {};
  spec->container.settings.sysctls.clear();
  spec->container.settings.tmpfs.clear();
  spec->container.process = std::move(process);
  spec->container.sink = std::move(sink);
  container->files.launching = std::stop_source();
  co_return co_await begin(*std::move(spec), container->files.launching.get_token());
}

/// What the machine is told of the container's run, which went on while there was no daemon.
net::awaitable<void> Launcher::describe(ContainerPtr container, AdoptSpec& spec) {
  const auto logged = co_await parts_.storage.logs().begin(container, true);
  if (!logged) spdlog::error("container {}: {}", container->short_id(), logged.error().message);
  const MachineRecord& place = container->state.machine;
  Process& process = *container->run.process;
  process.set_id(place.process);
  spec.processes.emplace(process.id(), process.adopt_spec(logged ? *logged : std::nullopt));
  spec.containers.insert(place.number);
  spec.sockets.emplace(place.number, socket_paths_of(*container));
  spec.endpoints.insert(spec.endpoints.end(), place.endpoints.begin(), place.endpoints.end());
}

/// What the run holds again of an adopted machine.
net::awaitable<Run> Launcher::resume(ContainerPtr container, std::shared_ptr<Machine> machine) {
  Run run;
  run.machine = std::move(machine);
  run.volumes = parts_.volumes.claims().hold(container);
  // Of those that the row has, a daemon that died may not have connected all.
  if (container->state.machine.own()) container->state.machine.endpoints = run.machine->endpoints();
  run.names = co_await parts_.attachments.resume(container);
  co_return std::move(run);
}

net::awaitable<Result<std::vector<Run>>> Launcher::adopt(std::vector<ContainerPtr> containers) {
  AdoptSpec spec{.id = machine_of(*containers.front()),
                 .endpoints = {},
                 .secret = containers.front()->state.machine.secret,
                 .names = parts_.attachments.name_server(),
                 .processes = {},
                 .containers = {},
                 .kill_unknown_from = kFirstFilesProcess};
  for (const ContainerPtr& container : containers) co_await describe(container, spec);
  const bool has_owner = spec.containers.contains(kMainContainer);
  const auto machine = co_await parts_.machines.adopt(std::move(spec));
  if (!machine) co_return machine.error();
  // The last daemon may have died before its network was taken away.
  if (!has_owner)
    if (const auto done = co_await (*machine)->disconnect(); !done) co_return done.error();
  std::vector<Run> runs;
  for (const ContainerPtr& container : containers) {
    Run run = co_await resume(container, *machine);
    runs.push_back(std::move(run));
  }
  co_return std::move(runs);
}

net::awaitable<Result<std::vector<Run>>> Launcher::adopt_ended(
    std::vector<ContainerPtr> containers) {
  AdoptSpec spec;
  spec.id = machine_of(*containers.front());
  spec.secret = containers.front()->state.machine.secret;
  const auto machine = co_await parts_.machines.adopt(std::move(spec));
  if (!machine) co_return machine.error();
  std::vector<Run> runs;
  for (const ContainerPtr& container : containers)
    runs.push_back(Run{.machine = *machine,
                       .pid = 0,
                       .volumes = parts_.volumes.claims().hold(container),
                       .names = {}});
  co_return std::move(runs);
}

}  // namespace engine
