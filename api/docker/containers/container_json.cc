#include "api/docker/containers/container_json.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <span>

#include "api/docker/containers/container_network_json.h"
#include "api/engine/attachments/linked.h"
#include "api/engine/container/machine_spec.h"
#include "api/engine/state/identifiers.h"

namespace docker {

using engine::Container;
using engine::Status;
using nlohmann::json;

namespace {

constexpr engine::TimeNs kSecond = 1'000'000'000;

json health_json(const engine::Health& health) {
  json log = json::array();
  for (const engine::HealthResult& result : health.log)
    log.push_back({{"Start", engine::format_time(result.start)},
                   {"End", engine::format_time(result.end)},
                   {"ExitCode", result.exit_code},
                   {"Output", result.output}});
  return {{"Status", engine::to_string(health.status)},
          {"FailingStreak", health.failing_streak},
          {"Log", std::move(log)}};
}

json state_json(const engine::ContainerState& state) {
  json value{{"Status", engine::to_string(state.status)},
             {"Running", state.running() || state.status == Status::kRestarting},
             {"Paused", state.status == Status::kPaused},
             {"Restarting", state.status == Status::kRestarting},
             {"OOMKilled", state.oom_killed},
             {"Dead", state.status == Status::kDead},
             {"Pid", state.machine.pid},
             {"ExitCode", state.exit_code},
             {"Error", state.error},
             {"StartedAt", engine::format_time(state.started_at)},
             {"FinishedAt", engine::format_time(state.finished_at)}};
  if (state.health) value["Health"] = health_json(*state.health);
  return value;
}

/// Docker leaves these out where nothing is in them.
constexpr auto kOmittedFromConfig =
    std::to_array<const char*>({"ArgsEscaped", "ExposedPorts", "Healthcheck", "MacAddress",
                                "NetworkDisabled", "Shell", "StopSignal", "StopTimeout"});
constexpr auto kOmittedFromHostConfig =
    std::to_array<const char*>({"Annotations", "Init", "KernelMemory", "KernelMemoryTCP", "Mounts",
                                "StorageOpt", "Sysctls", "Tmpfs"});

bool is_empty(const json& value) {
  return value.is_null() || value == false || value == 0 || value == "" ||
         (value.is_structured() && value.empty());
}

json without_empty(json object, std::span<const char* const> fields) {
  for (const char* field : fields) {
    const auto found = object.find(field);
    const bool keeps = found != object.end() && std::string_view(field) == "Init" &&
                       found->is_boolean();  // a pointer: false says something
    if (found != object.end() && !keeps && is_empty(*found)) object.erase(found);
  }
  return object;
}

json bind_json(const engine::MountPoint& mount) {
  return {{"Type", "bind"},     {"Source", mount.host.path}, {"Destination", mount.destination},
          {"Mode", mount.mode}, {"RW", !mount.read_only},    {"Propagation", "rprivate"}};
}

json volume_mount_json(const engine::Volumes& volumes, const engine::MountPoint& mount) {
  const auto volume = volumes.find(mount.volume);
  return {{"Type", "volume"},
          {"Name", mount.volume},
          {"Source", volume ? volumes.files_of(**volume).string() : ""},
          {"Destination", mount.destination},
          {"Driver", "local"},
          {"Mode", mount.mode},
          {"RW", !mount.read_only},
          {"Propagation", ""}};
}

json mounts_json(const ContainerContext& context, const Container& container) {
  json rows = json::array();
  for (const engine::MountPoint& mount : container.mounts)
    rows.push_back(mount.is_bind() ? bind_json(mount) : volume_mount_json(context.volumes, mount));
  return rows;
}

void add_sizes(json& value, const Container& container) {
  struct stat status {};
  const std::int64_t written =
      ::stat(container.disk().c_str(), &status) == 0 ? status.st_blocks * 512 : 0;
  std::uint64_t layers = 0;
  for (const images::LayerFile& layer : container.origin.layers) layers += layer.bytes;
  value["SizeRw"] = written;
  value["SizeRootFs"] = static_cast<std::int64_t>(layers) + written;
}

std::string joined_command(const Container& container) {
  std::string command;
  for (const std::string& word : container.settings.process.argv)
    command += (command.empty() ? "" : " ") + word;
  return command;
}

/// On the default network a link is shown as Docker shows it: "/other:/own-name/alias".
json host_config_json(const Container& container, const engine::Containers& containers) {
  json shown = without_empty(container.settings.document.host_config, kOmittedFromHostConfig);
  if (!engine::has_links(container)) return shown;
  shown["Links"] = json::array();
  for (const engine::Link& link : container.settings.naming.links)
    if (const auto other = containers.find(link.container))
      shown["Links"].push_back("/" + (*other)->name + ":/" + container.name + "/" + link.alias);
  return shown;
}

}  // namespace

std::map<std::string, std::string> labels_of(const Container& container) {
  return container.settings.labels;
}

std::string human_duration(engine::TimeNs duration) {
  const std::int64_t seconds = duration / kSecond;
  const std::int64_t minutes = seconds / 60;
  const std::int64_t hours = (minutes + 30) / 60;
  const auto plural = [](std::int64_t n, const char* unit) { return std::to_string(n) + unit; };
  if (seconds < 1) return "Less than a second";
  if (seconds == 1) return "1 second";
  if (seconds < 60) return plural(seconds, " seconds");
  if (minutes == 1) return "About a minute";
  if (minutes < 60) return plural(minutes, " minutes");
  if (hours == 1) return "About an hour";
  if (hours < 48) return plural(hours, " hours");
  if (hours < 24 * 7 * 2) return plural(hours / 24, " days");
  if (hours < 24 * 30 * 2) return plural(hours / 24 / 7, " weeks");
  if (hours < 24 * 365 * 2) return plural(hours / 24 / 30, " months");
  return plural(hours / 24 / 365, " years");
}

std::string_view health_word(const engine::ContainerState& state) {
  return state.health ? engine::to_string(state.health->status) : "none";
}

namespace {

/// " (health: starting)"; the other words are clear on their own.
std::string health_text(const engine::ContainerState& state) {
  if (!state.health) return "";
  const bool starting = state.health->status == engine::HealthStatus::kStarting;
  return " (" + std::string(starting ? "health: " : "") + std::string(health_word(state)) + ")";
}

}  // namespace

std::string status_text(const engine::ContainerState& state, engine::TimeNs now) {
  const std::string ended = "(" + std::to_string(state.exit_code) + ") " +
                            human_duration(now - state.finished_at) + " ago";
  switch (state.status) {
    case Status::kCreated:
      return "Created";
    case Status::kRunning:
      return "Up " + human_duration(now - state.started_at) + health_text(state);
    case Status::kPaused:
      return "Up " + human_duration(now - state.started_at) + " (Paused)";
    case Status::kRestarting:
      return "Restarting " + ended;
    case Status::kRemoving:
      return "Removal In Progress";
    case Status::kExited:
      return "Exited " + ended;
    case Status::kDead:
      return "Dead";
  }
  return "";
}

json inspect_json(const Container& container, ContainerContext context, bool sizes) {
  const std::vector<std::string> command = container.settings.process.argv;
  json value{{"Id", container.id},
             {"Created", engine::format_time(container.origin.created)},
             {"Path", command.empty() ? "" : command.front()},
             {"Args", std::vector<std::string>(
                          command.empty() ? command.end() : command.begin() + 1, command.end())},
             {"State", state_json(container.state)},
             {"Image", container.origin.image_id},
             {"ResolvConfPath", ""},
             {"HostnamePath", ""},
             {"HostsPath", ""},
             {"LogPath", container.settings.log.writes() ? container.log_path().string() : ""},
             {"Name", "/" + container.name},
             {"RestartCount", container.state.restart_count},
             {"Driver", "erofs"},
             {"Platform", "linux"},
             {"MountLabel", ""},
             {"ProcessLabel", ""},
             {"AppArmorProfile", ""},
             {"ExecIDs", nullptr},
             {"HostConfig", host_config_json(container, context.containers)},
             {"GraphDriver", {{"Data", nullptr}, {"Name", "erofs"}}},
             {"Mounts", mounts_json(context, container)},
             {"Config", without_empty(container.settings.document.config, kOmittedFromConfig)},
             {"NetworkSettings", network_settings_json(container, context.networks)}};
  if (sizes) add_sizes(value, container);
  return value;
}

LinkNames link_names(const std::vector<engine::ContainerPtr>& containers) {
  LinkNames names;
  for (const engine::ContainerPtr& container : containers)
    if (engine::has_links(*container))
      for (const engine::Link& link : container->settings.naming.links)
        names.emplace(link.container, "/" + container->name + "/" + link.alias);
  return names;
}

json summary_json(const Container& container, ContainerContext context, const LinkNames& links,
                  bool sizes) {
  json names = json::array({"/" + container.name});
  const auto [first, last] = links.equal_range(container.id);
  for (auto link = first; link != last; ++link) names.push_back(link->second);
  const json& network = container.settings.document.host_config.at("NetworkMode");
  json value{{"Id", container.id},
             {"Names", std::move(names)},
             {"Image", container.settings.image},
             {"ImageID", container.origin.image_id},
             {"Command", joined_command(container)},
             {"Created", container.origin.created / kSecond},
             {"Ports", ports_json(container)},
             {"Labels", container.settings.labels},
             {"State", engine::to_string(container.state.status)},
             {"Status", status_text(container.state, engine::now_ns())},
             {"HostConfig", {{"NetworkMode", network}}},
             {"NetworkSettings", {{"Networks", networks_json(container, context.networks)}}},
             {"Mounts", mounts_json(context, container)}};
  if (sizes) add_sizes(value, container);
  return value;
}

}  // namespace docker
