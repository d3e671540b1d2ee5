// The fixture of the tests that call the API through its router, without a connection.
#pragma once

#include <gtest/gtest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <cstring>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "api/docker/api.h"
#include "api/fakes/engine_fixture.h"

namespace docker {

using nlohmann::json;

/// Records the answer; input comes from a string.
class FakeExchange final : public http::Exchange {
 public:
  FakeExchange(std::string method, std::string_view target, std::string body)
      : body_(std::move(body)) {
    auto parsed = http::parse_target(target);
    request_.method = std::move(method);
    request_.version = parsed->version;
    request_.path = parsed->path;
    request_.query = parsed->query;
    request_.headers.add("Content-Type", "application/json");
  }

  http::Request& request() override { return request_; }
  net::awaitable<base::Result<std::size_t>> read_some(std::span<std::byte> out) override {
    if (body_.empty() && stalls != nullptr) co_await stalls->wait();
    if (body_.empty() && cut_off)
      co_return base::Error{base::Code::kUnavailable, "the client is gone"};
    const std::size_t size = std::min(out.size(), body_.size());
    std::memcpy(out.data(), body_.data(), size);
    body_.erase(0, size);
    co_return size;
  }
  net::awaitable<base::Result<void>> respond(http::Response response) override {
    answer = std::move(response);
    answered_ = true;
    co_return base::Result<void>();
  }
  net::awaitable<base::Result<void>> begin_stream(http::Response head) override {
    return respond(std::move(head));
  }
  void end_with_input() override {}
  void break_off() override { broken_off = true; }
  net::awaitable<base::Result<void>> hijack(std::string content_type) override {
    answer.status = http::Status::kSwitchingProtocols;
    answer.content_type = std::move(content_type);
    answered_ = true;
    co_return base::Result<void>();
  }
  net::awaitable<base::Result<void>> accept_websocket(bool binary) override {
    return hijack(binary ? "binary messages" : "text messages");
  }
  using Exchange::write;
  net::awaitable<base::Result<void>> write(std::span<const std::byte> head,
                                           std::span<const std::byte> bytes) override {
    if (takes_nothing != nullptr) co_await takes_nothing->wait();
    if (deaf) co_return base::Error{base::Code::kUnavailable, "the client is gone"};
    answer.body.append(reinterpret_cast<const char*>(head.data()), head.size());
    answer.body.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    co_return base::Result<void>();
  }
  net::awaitable<void> peer_gone() override {
    async::Notifier never(co_await net::this_coro::executor);
    if (hangs_up != nullptr) co_return co_await hangs_up->wait();
    co_await never.wait();
  }
  bool answered() const override { return answered_; }

  http::Response answer;
  bool broken_off = false;
  bool cut_off = false;                      // the connection breaks where the body ends
  async::Notifier* stalls = nullptr;         // nothing comes after the body until it notifies
  bool deaf = false;                         // nothing can be sent to the client any more
  async::Notifier* takes_nothing = nullptr;  // what is sent is taken when it notifies
  async::Notifier* hangs_up = nullptr;       // the client has closed the connection then

 private:
  http::Request request_;
  std::string body_;
  bool answered_ = false;
};

/// All routes, on fake machines and images.
class ApiTest : public fakes::EngineFixture {
 protected:
  ApiTest()
      : registries_(*registry::Registries::make({}, images_)), api_(api_on(images_, *registries_)) {
    add_system_routes(router_, api_);
    add_container_routes(router_, api_);
    add_stream_routes(router_, api_);
    add_archive_routes(router_, api_);
    add_changes_routes(router_, api_);
    add_build_routes(router_, api_);
    add_commit_routes(router_, api_);
    add_statistics_routes(router_, api_);
    add_image_routes(router_, api_);
    add_exec_routes(router_, api_);
    add_registry_routes(router_, api_);
    add_volume_routes(router_, api_);
    add_network_routes(router_, api_);
    add_minimal_routes(router_, api_);
  }

  Api api_on(images::Store& images, registry::Registries& registries) {
    return Api{.containers = *containers_,
               .execs = *execs_,
               .use_cases = {archives_, commits_, builds_, container_networks_},
               .volumes = *volumes_,
               .networks = *networks_,
               .events = *events_,
               .images = images,
               .registries = registries,
               .threads = {pool_, transfers_, streams_, work_},
               .spool = spool_,
               .host = {.id = kHostId,
                        .state_directory = directory_.string(),
                        .kernel_release = host_.kernel_release()}};
  }

  http::Response call(std::string method, std::string_view target, const json& body = nullptr) {
    FakeExchange exchange(std::move(method), target, body.is_null() ? "" : body.dump());
    await(router_.serve(exchange));
    return exchange.answer;
  }
  /// A request whose client may leave before it is answered.
  struct Pending {
    Pending(std::string method, std::string_view target, std::string body)
        : exchange(std::move(method), target, std::move(body)) {}
    FakeExchange exchange;
    net::cancellation_signal left;
    bool ended = false;
    void leave() { left.emit(net::cancellation_type::terminal); }
  };
  void begin(Pending& request) {
    net::co_spawn(io_, router_.serve(request.exchange),
                  net::bind_cancellation_slot(request.left.slot(), [&](const std::exception_ptr&) {
                    request.ended = true;
                  }));
    settle();
  }
  int status(std::string method, std::string_view target, const json& body = nullptr) {
    return static_cast<int>(call(std::move(method), target, body).status);
  }
  json get(std::string_view target) { return json::parse(call("GET", target).body); }

  std::string create_over_api(const json& body, std::string_view query = "") {
    const auto answer = call("POST", "/v1.51/containers/create" + std::string(query), body);
    EXPECT_EQ(static_cast<int>(answer.status), 201) << answer.body;
    return json::parse(answer.body).value("Id", "");
  }
  std::string run_over_api(std::vector<std::string> command) {
    const std::string id = create_over_api({{"Image", "busybox"}, {"Cmd", command}});
    EXPECT_EQ(status("POST", "/containers/" + id + "/start"), 204);
    return id;
  }

  /// All events so far that match, one JSON object a line.
  std::string events_in(const std::string& filters) {
    const std::string now = std::to_string(engine::now_ns());
    const std::string until = now.substr(0, now.size() - 9) + "." + now.substr(now.size() - 9);
    return call("GET", "/events?until=" + until + "&filters=" + filters).body;
  }
  std::string actions_in(const std::string& filters) {
    std::istringstream lines(events_in(filters));
    std::string actions;
    for (std::string line; std::getline(lines, line);)
      actions += json::parse(line).at("Action").get<std::string>() + " ";
    return actions;
  }

  /// One run of a container, to its end.
  void run_again(const std::string& id) {
    call("POST", "/containers/" + id + "/start");
    const engine::ContainerPtr container = *containers_->find(id);
    run_until([&] { return !container->state.running(); });
  }

  std::unique_ptr<registry::Registries> registries_;
  async::BlockingPool transfers_{1};
  async::BlockingPool streams_{4};
  engine::ContainerArchives archives_{*containers_, streams_};
  engine::ImageCommits commits_{{.executor = io_.get_executor(),
                                 .containers = *containers_,
                                 .events = *events_,
                                 .images = images_,
                                 .pool = pool_,
                                 .streams = streams_}};
  engine::ContainerNetworks container_networks_{*containers_, *networks_};
  engine::build::Builds builds_{{.executor = io_.get_executor(),
                                 .containers = *containers_,
                                 .commits = commits_,
                                 .events = *events_,
                                 .images = images_,
                                 .registries = *registries_,
                                 .pool = pool_,
                                 .transfers = transfers_,
                                 .spool_directory = directory_.string()}};
  http::ClientPool work_{io_.get_executor(), 2, 2};
  http::Spool spool_{pool_, directory_.string()};
  Api api_;
  http::Router router_;
};

}  // namespace docker
