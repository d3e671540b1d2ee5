// _ping, version, info, events, system/df.
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <nlohmann/json.hpp>

#include "api/docker/api.h"
#include "api/docker/containers/container_json.h"
#include "api/docker/containers/volume_json.h"
#include "api/docker/filters.h"
#include "api/docker/json_rows.h"
#include "vmm/arch/host.h"

namespace docker {

using base::Code;
using base::Error;
using base::Result;
using http::Exchange;
using http::Request;
using http::Response;
using http::Status;
using nlohmann::json;
using namespace net::experimental::awaitable_operators;  // NOLINT: operator|| only

namespace {

std::string host_name() {
  utsname names{};
  return ::uname(&names) == 0 ? names.nodename : "";
}

// GET and HEAD /_ping
net::awaitable<Response> ping(Request) {
  Response response = http::text(Status::kOk, "OK");
  response.headers.add("Builder-Version", "1");
  response.headers.add("Swarm", "inactive");
  response.headers.add("Cache-Control", "no-cache, no-store, must-revalidate");
  response.headers.add("Pragma", "no-cache");
  co_return response;
}

// GET /version
net::awaitable<Response> version(Api& api, Request) {
  const std::string newest = http::to_string(http::kMaxApiVersion);
  const std::string oldest = http::to_string(http::kMinApiVersion);
  const std::string architecture(images::host_architecture());
  const json details{{"ApiVersion", newest},
                     {"Arch", architecture},
                     {"BuildTime", ""},
                     {"Experimental", "false"},
                     {"GitCommit", ""},
                     {"GoVersion", ""},
                     {"KernelVersion", api.host.kernel_release},
                     {"MinAPIVersion", oldest},
                     {"Os", "linux"}};
  const json answer{
      {"Platform", {{"Name", "containerVM"}}},
      {"Components",
       json::array({{{"Name", "Engine"}, {"Version", kProductVersion}, {"Details", details}}})},
      {"Version", kProductVersion},
      {"ApiVersion", newest},
      {"MinAPIVersion", oldest},
      {"GitCommit", ""},
      {"GoVersion", ""},
      {"Os", "linux"},
      {"Arch", architecture},
      {"KernelVersion", api.host.kernel_release},
      {"BuildTime", ""}};
  co_return http::json(Status::kOk, answer);
}

json container_counts(const Api& api) {
  int running = 0;
  int paused = 0;
  int stopped = 0;
  for (const auto& container : api.containers.list()) {
    if (container->state.status == engine::Status::kPaused) {
      ++paused;
    } else {
      ++(container->state.running() ? running : stopped);
    }
  }
  return {{"Containers", running + paused + stopped},
          {"ContainersRunning", running},
          {"ContainersPaused", paused},
          {"ContainersStopped", stopped}};
}

json registry_config(const registry::Settings& settings) {
  const json mirrors = settings.mirrors();
  const std::string hub(registry::kHubDomain);
  json indexes{{hub, {{"Name", hub}, {"Mirrors", mirrors}, {"Secure", true}, {"Official", true}}}};
  for (const std::string& host : settings.insecure_hosts())
    indexes[host] = {
        {"Name", host}, {"Mirrors", json::array()}, {"Secure", false}, {"Official", false}};
  return {{"InsecureRegistryCIDRs", settings.insecure_cidrs()},
          {"IndexConfigs", std::move(indexes)},
          {"Mirrors", mirrors}};
}

/// What does not change while the daemon runs.
json host_facts(const Api& api) {
  struct sysinfo memory {};
  ::sysinfo(&memory);
  return {{"ID", api.host.id},
          {"Driver", "erofs"},
          {"DriverStatus", json::array()},
          {"Plugins",
           {{"Volume", json::array({"local"})},
            {"Network", json::array({"bridge", "null"})},
            {"Authorization", nullptr},
            {"Log", json::array({"json-file", "none"})}}},
          {"MemoryLimit", true},
          {"SwapLimit", true},
          {"CpuCfsPeriod", true},
          {"CpuCfsQuota", true},
          {"CPUShares", true},
          {"CPUSet", true},
          {"PidsLimit", true},
          {"IPv4Forwarding", true},
          {"Debug", false},
          {"OomKillDisable", false},
          {"NFd", 0},
          {"NGoroutines", 0},
          {"LoggingDriver", "json-file"},
          // Containers have no cgroup on the host, and so no parent that a client could name.
          {"CgroupDriver", "none"},
          {"CgroupVersion", "2"},
          {"NEventsListener", 0},
          {"KernelVersion", api.host.kernel_release},
          {"OperatingSystem", "containerVM"},
          {"OSVersion", std::string(kProductVersion)},
          {"OSType", "linux"},
          {"Architecture", std::string(arch::kName)},
          {"IndexServerAddress", std::string(registry::kHubIndexAddress)},
          {"RegistryConfig", registry_config(api.registries.settings())},
          {"NCPU", ::sysconf(_SC_NPROCESSORS_ONLN)},
          {"MemTotal", static_cast<std::int64_t>(memory.totalram) * memory.mem_unit},
          {"GenericResources", nullptr},
          {"DockerRootDir", api.host.state_directory},
          {"HttpProxy", api.registries.settings().proxies().http_text()},
          {"HttpsProxy", api.registries.settings().proxies().https_text()},
          {"NoProxy", api.registries.settings().proxies().none_text()},
          {"Name", host_name()},
          {"Labels", json::array()},
          {"ExperimentalBuild", false},
          {"ServerVersion", std::string(kProductVersion)},
          {"Runtimes", {{"containervm", {{"path", "containervm-vmm"}}}}},
          {"DefaultRuntime", "containervm"},
          {"Swarm",
           {{"NodeID", ""},
            {"NodeAddr", ""},
            {"LocalNodeState", "inactive"},
            {"ControlAvailable", false},
            {"Error", ""},
            {"RemoteManagers", nullptr}}},
          {"LiveRestoreEnabled", api.host.live_restore},
          {"Isolation", ""},
          {"InitBinary", "guest-init"},
          {"SecurityOptions", {"name=seccomp,profile=builtin", "name=cgroupns"}},
          {"Warnings", nullptr}};
}

// GET /info
net::awaitable<Response> info(Api& api, Request) {
  const std::function<Result<std::vector<images::ImageSummary>>()> list_images =
      [&store = api.images] { return store.list(images::ListFilter{}); };
  const auto images = co_await api.threads.pool.run(list_images);
  if (!images) co_return http::error_response(images.error());
  json answer = host_facts(api);
  answer.update(container_counts(api));
  answer["Images"] = images->size();
  answer["SystemTime"] = engine::format_time(engine::now_ns());
  co_return http::json(Status::kOk, answer);
}

/// But for those that are directories of clients: what is in there is not the volumes', and Docker
/// leaves out what has mount options, too.
net::awaitable<std::string> volume_rows(const Api& api) {
  JsonRows rows;
  const engine::Volumes& volumes = api.volumes;
  for (const engine::VolumePtr& volume : volumes.list()) {
    const auto bytes = co_await volumes.bytes_of(volume);
    if (!bytes) {
      co_await rows.pass();
      continue;
    }
    json row = volume_json(volumes, *volume);
    row["UsageData"] = {{"Size", *bytes}, {"RefCount", volume->users.size()}};
    co_await rows.add(std::move(row));
  }
  co_return rows.take();
}

net::awaitable<std::string> container_rows(const Api& api) {
  JsonRows rows;
  const LinkNames links = link_names(api.containers.list());
  for (const auto& container : api.containers.list()) {
    json row = summary_json(*container, {api.volumes, api.networks, api.containers}, links, true);
    co_await rows.add(std::move(row));
  }
  co_return rows.take();
}

// GET /system/df
net::awaitable<Response> disk_usage(Api& api, Request) {
  const std::function<Result<images::DiskUsage>()> measure = [&store = api.images] {
    return store.disk_usage();
  };
  const auto usage = co_await api.threads.pool.run(measure);
  if (!usage) co_return http::error_response(usage.error());
  JsonRows images;
  for (const images::ImageSummary& image : usage->images) {
    json row{{"Id", image.id},
             {"ParentId", image.parent},
             {"RepoTags", image.repo_tags},
             {"RepoDigests", image.repo_digests},
             {"Created", image.created_seconds},
             {"Size", image.size},
             {"SharedSize", 0},
             {"Labels", image.labels},
             {"Containers", image.containers}};
    co_await images.add(std::move(row));
  }
  const std::string containers = co_await container_rows(api);
  const std::string volumes = co_await volume_rows(api);
  co_return rows_response(
      std::move(images),
      R"({"LayersSize":)" + std::to_string(usage->layers_bytes) + R"(,"Images":)",
      R"(,"Containers":)" + containers + R"(,"Volumes":)" + volumes + R"(,"BuildCache":[]})");
}

// --- events ---------------------------------------------------------------------------------

std::string attribute(const engine::Event& event, const char* name) {
  const auto found = event.attributes.find(name);
  return found == event.attributes.end() ? "" : found->second;
}

json event_json(const engine::Event& event) {
  json value{{"Type", event.type},
             {"Action", event.action},
             {"Actor", {{"ID", event.actor}, {"Attributes", event.attributes}}},
             {"scope", "local"},
             {"time", event.time / 1'000'000'000},
             {"timeNano", event.time}};
  if (event.type == "container" || event.type == "image") {
    value["status"] = event.action;
    value["id"] = event.actor;
    if (event.type == "container") value["from"] = attribute(event, "image");
  }
  return value;
}

/// Docker's rule for objects: a filter's value begins the actor's ID or name.
bool names_actor(const engine::Event& event, const std::string& wanted) {
  return event.actor.starts_with(wanted) || attribute(event, "name").starts_with(wanted);
}

/// "busybox:latest" -> "busybox"; a port of a registry stays.
std::string without_tag(const std::string& image) {
  const std::size_t colon = image.rfind(':');
  const bool tagged = colon != image.npos && image.find('/', colon) == image.npos;
  return tagged ? image.substr(0, colon) : image;
}

bool names_image(const engine::Event& event, const std::string& wanted) {
  const std::string name = attribute(event, event.type == "image" ? "name" : "image");
  return wanted == event.actor || wanted == name || wanted == without_tag(event.actor) ||
         wanted == without_tag(name);
}

/// Actions that go on behind a colon ("exec_create: sh") are found by their beginning, and then, as
/// with Docker, so are all.
bool is_action(const Filters& filters, const std::string& action) {
  const auto& wanted = filters.get("event");
  const bool by_beginning = std::any_of(wanted.begin(), wanted.end(), [](const auto& word) {
    return word == "health_status" || word == "exec_create" || word == "exec_start";
  });
  return filters.any("event", [&](const auto& word) {
    return by_beginning ? action.starts_with(word) : action == word;
  });
}

bool event_matches(const Filters& filters, const engine::Event& event) {
  const auto names = [&](const auto& wanted) { return names_actor(event, wanted); };
  return is_action(filters, event.action) &&
         filters.any("type", [&](const auto& v) { return event.type == v; }) &&
         filters.any("container", names) && filters.any("network", names) &&
         filters.any("volume", names) && filters.any("daemon", names) &&
         filters.any("image", [&](const auto& v) { return names_image(event, v); }) &&
         filters.any("scope", [](const auto& v) { return v == "local"; }) &&
         filters.labels_match(event.attributes);
}

struct EventQuery {
  engine::TimeNs since = 0;
  engine::TimeNs until = 0;  // 0: for ever
  Filters filters;
};

Result<EventQuery> parse_event_query(const Request& request) {
  auto filters =
      Filters::parse(request.query.get("filters"),
                     {"config", "container", "daemon", "event", "image", "label", "network", "node",
                      "plugin", "scope", "secret", "service", "type", "volume"});
  if (!filters) return std::move(filters).error();
  const auto since = engine::parse_time(request.query.get_or("since", ""));
  if (!since) return since.error();
  const auto until = engine::parse_time(request.query.get_or("until", ""));
  if (!until) return until.error();
  if (*since != 0 && *until != 0 && *since > *until)
    return Error{Code::kInvalidArgument, "`since` time (" + request.query.get_or("since", "") +
                                             ") cannot be after `until` time (" +
                                             request.query.get_or("until", "") + ")"};
  return EventQuery{.since = *since, .until = *until, .filters = *std::move(filters)};
}

/// How many events a listener may pass over before others have their turn.
constexpr int kEventsAtOnce = 64;

net::awaitable<bool> write_event(Exchange& exchange, const engine::Event& event) {
  const std::string line = http::dump_json(event_json(event)) + "\n";
  const auto written = co_await exchange.write(std::string_view(line));
  co_return written.has_value();
}

// GET /events
net::awaitable<void> events(Api& api, Exchange& exchange) {
  const auto query = parse_event_query(exchange.request());
  if (!query) {
    co_await exchange.respond(http::error_response(query.error()));
    co_return;
  }
  const bool wants_past = query->since != 0 || query->until != 0;
  engine::Events::Cursor cursor = wants_past ? api.events.at(query->since) : api.events.now();
  Response head{.content_type = "application/json"};
  if (query->until == 0) exchange.end_with_input();
  const auto begun = co_await exchange.begin_stream(std::move(head));
  if (!begun) co_return;
  const net::any_io_executor executor = co_await net::this_coro::executor;
  for (int skipped = 0;;) {
    while (auto event = api.events.next(cursor)) {
      const bool wanted = (query->until == 0 || event->time <= query->until) &&
                          event_matches(query->filters, *event);
      if (wanted) {
        const bool alive = co_await write_event(exchange, *event);
        if (!alive) co_return;
      } else if (++skipped % kEventsAtOnce == 0) {
        co_await net::post(executor, net::use_awaitable);
      }
    }
    if (query->until == 0) {
      co_await api.events.wait();
      continue;
    }
    const engine::TimeNs left = query->until - engine::now_ns();
    if (left <= 0) co_return;
    net::steady_timer until(executor, std::chrono::nanoseconds(left));
    co_await (api.events.wait() || until.async_wait(async::kTuple));
  }
}

}  // namespace

std::string fixed_headers() {
  return "Api-Version: " + http::to_string(http::kMaxApiVersion) +
         "\r\nDocker-Experimental: false\r\nOstype: linux\r\nServer: containerVM/" +
         std::string(kProductVersion) + " (linux)\r\n";
}

void add_system_routes(http::Router& router, Api& api) {
  router.add("GET", "/_ping", ping);
  router.add("HEAD", "/_ping", ping);
  router.add("GET", "/version", std::bind_front(version, std::ref(api)));
  router.add("GET", "/info", std::bind_front(info, std::ref(api)));
  router.add("GET", "/system/df", std::bind_front(disk_usage, std::ref(api)));
  router.add_stream("GET", "/events", std::bind_front(events, std::ref(api)));
}

}  // namespace docker
