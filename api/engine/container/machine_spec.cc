#include "api/engine/container/machine_spec.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "api/engine/security/capabilities.h"
#include "api/engine/settings/exec_settings.h"
#include "api/engine/settings/limits.h"
#include "api/engine/state/identifiers.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using protocol::PrepareContainer;
using protocol::StartProcess;

namespace {

constexpr std::string_view kDefaultPath =
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The place of `item` in `list`, which gets it if it has it not.
template <typename T>
std::uint32_t place_in(std::vector<T>& list, const T& item) {
  const auto found = std::find(list.begin(), list.end(), item);
  const auto place = static_cast<std::uint32_t>(found - list.begin());
  if (found == list.end()) list.push_back(item);
  return place;
}

/// Its files are the daemon's own where the guest is to look for a volume in them.
void add_share(const SharedSource& source, PrepareContainer::Mount& place, ContainerSpec& spec) {
  const HostTree& tree = source.files.tree;
  place.source =
      tree.of_daemon ? PrepareContainer::Source::kDirectory : PrepareContainer::Source::kHost;
  place.number = place_in(spec.shares, source.files);
  place.read_only = place.read_only || tree.read_only;
  place.copy_up = place.copy_up && !tree.read_only;
  place.no_setuid = source.restrictions.no_setuid;
  place.no_devices = source.restrictions.no_devices;
  place.no_exec = source.restrictions.no_exec;
}

/// One disk for each volume, and one share for each directory, however often it is mounted.
void add_mounts(const Container& container, const std::vector<MountSource>& sources,
                ContainerSpec& spec) {
  using Source = PrepareContainer::Source;
  const bool is_new = container.state.started_at == 0;
  for (std::size_t i = 0; i < std::min(container.mounts.size(), sources.size()); ++i) {
    const MountPoint& mount = container.mounts[i];
    PrepareContainer::Mount place;
    place.path = mount.destination;
    place.subpath = mount.subpath;
    place.read_only = mount.read_only;
    place.copy_up = !mount.is_bind() && mount.copy_up && is_new && mount.subpath.empty();
    if (const auto* disk = std::get_if<std::filesystem::path>(&sources[i])) {
      place.source = Source::kDisk;
      place.number = place_in(spec.volumes, *disk);
    } else if (const auto* socket = std::get_if<HostSocket>(&sources[i])) {
      place.source = Source::kSocket;
      place.number = static_cast<std::uint32_t>(i);
      spec.settings.sockets.push_back({.number = place.number,
                                       .mode = socket->file.mode,
                                       .user = socket->file.user,
                                       .group = socket->file.group});
      spec.sockets.emplace(place.number, socket->path);
    } else {
      add_share(std::get<SharedSource>(sources[i]), place, spec);
    }
    spec.settings.mounts.push_back(std::move(place));
  }
}

PrepareContainer container_of(const Container& container, const StartContext& context) {
  const Settings& settings = container.settings;
  PrepareContainer prepare;
  prepare.container = container.state.machine.number;
  prepare.hostname = hostname_of(container);
  prepare.domainname = settings.naming.domainname;
  prepare.hostname_file = prepare.hostname + "\n";
  prepare.hosts_file = hosts_file_of(container, context.endpoints);
  prepare.resolv_conf_file = context.resolv_conf;
  prepare.read_only_root = settings.mounts.read_only_root;
  prepare.privileged = settings.security.privileged;
  prepare.shm_bytes = settings.sharing.no_memory_files ? 0 : settings.mounts.shm_bytes;
  prepare.tmpfs = settings.mounts.tmpfs;
  prepare.sysctls = settings.sysctls;
  prepare.masked_paths = settings.security.masked_paths;
  prepare.read_only_paths = settings.security.read_only_paths;
  return prepare;
}

/// `changes` take the places of variables of the same name, a later one that of an earlier one.
/// "NAME" without a value takes away what was there before the changes.
void change_environment(std::vector<std::string>& environment,
                        const std::vector<std::string>& changes) {
  std::vector<std::string> changed;
  std::map<std::string, std::size_t> places;
  const auto put = [&](const std::string& variable) {
    const auto [place, is_new] =
        places.emplace(variable.substr(0, variable.find('=')), changed.size());
    if (is_new) changed.emplace_back();
    changed[place->second] = variable;
  };
  for (const std::string& variable : environment) put(variable);
  const std::size_t before = changed.size();
  for (const std::string& change : changes) {
    if (change.find('=') != std::string::npos) {
      put(change);
    } else if (const auto place = places.find(change);
               place != places.end() && place->second < before) {
      changed[place->second].clear();
    }
  }
  std::erase(changed, "");
  environment = std::move(changed);
}

/// Docker's own variables first, then the container's, which win.
std::vector<std::string> environment_of(const Container& container) {
  std::vector<std::string> environment{std::string(kDefaultPath),
                                       "HOSTNAME=" + hostname_of(container)};
  if (container.settings.process.tty) environment.push_back("TERM=xterm");
  const auto& linked = container.run.linked.variables;
  environment.insert(environment.end(), linked.begin(), linked.end());
  change_environment(environment, container.settings.process.env);
  return environment;
}

StartProcess process_of(const Container& container) {
  const ProcessSettings& settings = container.settings.process;
  const Security& security = container.settings.security;
  StartProcess process;
  process.container = container.state.machine.number;
  process.process = container.state.machine.process;
  process.argv = settings.argv;
  process.env = environment_of(container);
  process.cwd = settings.directory;
  process.user = settings.user;
  process.additional_groups = settings.groups;
  process.tty = settings.tty;
  if (process.tty) {
    process.rows = settings.rows;
    process.columns = settings.columns;
  }
  process.open_stdin = settings.open_stdin;
  process.capabilities = security.capabilities;
  process.no_new_privileges = security.no_new_privileges;
  process.use_init = settings.use_init;
  process.oom_score_adj = settings.oom_score_adj;
  process.rlimits = settings.rlimits;
  return process;
}

}  // namespace

SocketPaths socket_paths_of(const Container& container) {
  SocketPaths paths;
  for (std::size_t i = 0; i < container.mounts.size(); ++i)
    if (container.mounts[i].is_bind())
      paths.emplace(static_cast<std::uint32_t>(i), container.mounts[i].host.path);
  return paths;
}

net::awaitable<Result<SeccompFilters::Filter>> seccomp_filter_for(SeccompFilters& filters,
                                                                  ContainerPtr container) {
  const Security& security = container->settings.security;
  std::optional<std::string> profile = security.seccomp_profile;
  co_return co_await filters.get(std::move(profile), security.capabilities);
}

launch::Shape shape_of(const Limits& limits, launch::Shape default_shape) {
  return shape_for(limits.guest.memory_bytes, limits.nano_cpus, default_shape);
}

std::filesystem::path storage_of(const Container& container) {
  return container.storage.directory.parent_path();
}

std::string hostname_of(const Container& container) {
  const std::string& asked = container.settings.naming.hostname;
  return asked.empty() ? container.short_id() : asked;
}

std::vector<std::string> hosts_lines_of(const Container& container, const Endpoint& endpoint) {
  const std::string name = hostname_of(container);
  const std::string& domain = container.settings.naming.domainname;
  const std::string names = "\t" + (domain.empty() ? "" : name + "." + domain + " ") + name;
  std::vector<std::string> lines{endpoint.address + names};
  if (!endpoint.address6.empty()) lines.push_back(endpoint.address6 + names);
  return lines;
}

std::string hosts_file_of(const Container& container, std::span<const Endpoint> endpoints) {
  std::string hosts =
      "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n"
      "ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n";
  for (const ExtraHost& extra : container.settings.naming.extra_hosts) {
    const std::string gateway = endpoints.empty() ? "127.0.0.1" : endpoints.front().gateway;
    hosts += extra.address.value_or(gateway) + "\t" + extra.name + "\n";
  }
  for (const std::string& line : container.run.linked.hosts) hosts += line + "\n";
  for (const Endpoint& endpoint : endpoints)
    for (const std::string& line : hosts_lines_of(container, endpoint)) hosts += line + "\n";
  return hosts;
}

Result<RunSpec> run_spec_for(const Container& container, StartContext context) {
  const Limits& limits = container.settings.limits;
  RunSpec spec;
  spec.machine.id = machine_of(container);
  spec.machine.shape = context.shape;
  RETURN_IF_ERROR(check_cpuset(limits, spec.machine.shape.vcpus));
  spec.machine.machine_id = random_id().substr(0, 32);
  spec.machine.secret = container.state.machine.secret;
  spec.container.layers = container.origin.layers;
  spec.container.disk = container.disk();
  spec.container.settings = container_of(container, context);
  add_mounts(container, context.mount_sources, spec.container);
  auto guest_limits = limits_for(limits, storage_of(container));
  if (!guest_limits) return std::move(guest_limits).error();
  spec.container.settings.limits = *std::move(guest_limits);
  auto weights = group_weights_for(limits);
  if (!weights) return std::move(weights).error();
  spec.machine.weights = *std::move(weights);
  spec.container.process = process_of(container);
  spec.container.sink = container.run.process->sink();
  return spec;
}

StartProcess exec_process_for(const Container& container, const ExecSettings& exec) {
  StartProcess process = process_of(container);
  process.argv = exec.command;
  change_environment(process.env, exec.env);
  if (!exec.user.empty()) process.user = exec.user;
  if (!exec.working_dir.empty()) process.cwd = exec.working_dir;
  process.tty = exec.tty;
  process.open_stdin = exec.attach_stdin;
  process.use_init = false;
  if (exec.privileged) process.capabilities = kAllCapabilities;
  return process;
}

}  // namespace engine
