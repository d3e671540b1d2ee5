// containers/{id}/stats: what a container uses, once or every second.
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>

#include "api/docker/api.h"
#include "api/engine/resources/container_usage.h"

namespace docker {

using engine::ContainerPtr;
using engine::Usage;
using engine::UsageSample;
using http::Exchange;
using http::Response;
using http::Status;
using nlohmann::json;

namespace {

constexpr std::chrono::seconds kInterval{1};

json cpu_json(const UsageSample& sample) {
  json value{
      {"cpu_usage", {{"total_usage", 0}, {"usage_in_kernelmode", 0}, {"usage_in_usermode", 0}}},
      {"throttling_data", {{"periods", 0}, {"throttled_periods", 0}, {"throttled_time", 0}}}};
  if (!sample.usage) return value;
  const Usage& usage = *sample.usage;
  value["cpu_usage"] = {{"total_usage", usage.cpu_ns},
                        {"usage_in_kernelmode", usage.system_cpu_ns},
                        {"usage_in_usermode", usage.user_cpu_ns}};
  value["system_cpu_usage"] = sample.host_cpu_ns;
  value["online_cpus"] = std::thread::hardware_concurrency();
  value["throttling_data"] = {{"periods", usage.throttling_periods},
                              {"throttled_periods", usage.throttled_periods},
                              {"throttled_time", usage.throttled_ns}};
  return value;
}

json memory_json(const UsageSample& sample) {
  if (!sample.usage) return json::object();
  return {{"usage", sample.usage->memory_bytes},
          {"stats", sample.usage->memory_counters},
          {"limit", sample.usage->memory_limit_bytes}};
}

json block_io_json(const UsageSample& sample) {
  json value;
  for (const char* group :
       {"io_service_bytes_recursive", "io_serviced_recursive", "io_queue_recursive",
        "io_service_time_recursive", "io_wait_time_recursive", "io_merged_recursive",
        "io_time_recursive", "sectors_recursive"})
    value[group] = nullptr;
  if (!sample.usage || sample.usage->devices.empty()) return value;
  json& bytes = value["io_service_bytes_recursive"];
  for (const engine::DeviceUsage& device : sample.usage->devices) {
    const auto row = [&](const char* op, std::uint64_t amount) {
      bytes.push_back(
          {{"major", device.major}, {"minor", device.minor}, {"op", op}, {"value", amount}});
    };
    row("read", device.read_bytes);
    row("write", device.written_bytes);
  }
  return value;
}

json networks_json(const Usage& usage) {
  json networks = json::object();
  for (const engine::NetworkUsage& network : usage.networks)
    networks[network.interface] = {
        {"rx_bytes", network.rx_bytes},   {"rx_packets", network.rx_packets},
        {"rx_errors", network.rx_errors}, {"rx_dropped", network.rx_dropped},
        {"tx_bytes", network.tx_bytes},   {"tx_packets", network.tx_packets},
        {"tx_errors", network.tx_errors}, {"tx_dropped", network.tx_dropped}};
  return networks;
}

json pids_json(const UsageSample& sample) {
  if (!sample.usage) return json::object();
  return {{"current", sample.usage->processes}, {"limit", sample.usage->process_limit}};
}

json statistics_json(const engine::Container& container, const UsageSample& now,
                     const UsageSample& before) {
  const auto time_of = [](const UsageSample& sample) { return engine::format_time(sample.time); };
  json value{{"name", "/" + container.name},
             {"id", container.id},
             {"read", time_of(now)},
             {"preread", time_of(before)},
             {"num_procs", 0},
             {"pids_stats", pids_json(now)},
             {"blkio_stats", block_io_json(now)},
             {"storage_stats", json::object()},
             {"cpu_stats", cpu_json(now)},
             {"precpu_stats", cpu_json(before)},
             {"memory_stats", memory_json(now)}};
  if (now.usage && !now.usage->networks.empty()) value["networks"] = networks_json(*now.usage);
  return value;
}

net::awaitable<void> sleep_until_next() {
  net::steady_timer timer(co_await net::this_coro::executor, kInterval);
  co_await timer.async_wait(async::kTuple);
}

/// One answer. Unless the client wants none, rates come from a first look a second before.
net::awaitable<json> one_answer(ContainerPtr container, bool with_rates) {
  UsageSample before;
  if (with_rates && container->state.running()) {
    before = co_await engine::sample_usage(container);
    co_await sleep_until_next();
  }
  const UsageSample now = co_await engine::sample_usage(container);
  if (!now.usage) before = UsageSample{};
  co_return statistics_json(*container, now, before);
}

// GET /containers/{id}/stats
//   200 one object, or one every second until the client leaves or the container is removed
//   404 no such container
net::awaitable<void> statistics(Api& api, Exchange& exchange) {
  const auto found = api.containers.find(exchange.request().path_arg("id"));
  if (!found) {
    co_await exchange.respond(http::error_response(found.error()));
    co_return;
  }
  const ContainerPtr container = *found;
  const auto& query = exchange.request().query;
  const bool stream = !query.get("stream") || query.get_bool("stream");
  const bool one_shot = query.get_bool("one-shot");
  if (stream && one_shot) {
    co_await exchange.respond(
        http::error_response(Status::kBadRequest, "cannot have stream=true and one-shot=true"));
    co_return;
  }
  if (!stream) {
    const json answer = co_await one_answer(container, !one_shot);
    co_await exchange.respond(http::json(Status::kOk, answer));
    co_return;
  }
  exchange.end_with_input();
  Response head{.content_type = "application/json"};
  const auto begun = co_await exchange.begin_stream(std::move(head));
  if (!begun) co_return;
  UsageSample before;
  while (!container->removal.done) {
    const UsageSample now = co_await engine::sample_usage(container);
    const std::string text = http::dump_json(statistics_json(*container, now, before)) + "\n";
    const auto written = co_await exchange.write(std::string_view(text));
    if (!written) co_return;
    before = now;
    co_await sleep_until_next();
  }
}

}  // namespace

void add_statistics_routes(http::Router& router, Api& api) {
  router.add_stream("GET", "/containers/{id}/stats", std::bind_front(statistics, std::ref(api)));
}

}  // namespace docker
