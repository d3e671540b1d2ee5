// EngineFixture: the whole engine on fake machines, its io_context run by the test's own thread.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "api/engine/containers/containers.h"
#include "api/engine/execs/execs.h"
#include "api/engine/execs/health_monitor.h"
#include "api/fakes/fake_image_store.h"
#include "api/fakes/fake_machine_host.h"

namespace fakes {

class EngineFixture : public testing::Test {
 protected:
  /// Short: a test waits for it where the guest does not answer.
  static constexpr std::chrono::milliseconds kProbeStartTimeout{20};
  inline static const std::string kHostId = std::string(64, 'a');

  EngineFixture() : host_(io_.get_executor()) {
    char name[] = "/tmp/containervm-engine-XXXXXX";
    directory_ = ::mkdtemp(name);
    std::filesystem::create_directory(directory_ / "containers");
    open();
  }
  ~EngineFixture() override {
    await(containers_->shut_down());
    await(health_->drained());
    await(execs_->drained());
    health_.reset();
    execs_.reset();
    containers_.reset();
    std::filesystem::remove_all(directory_);
  }

  /// Opens the engine on what is in the directory: again, for a restart.
  void open() {
    settle();  // what the engine before has begun must not go on without it
    health_.reset();
    execs_.reset();
    containers_.reset();
    container_events_.reset();
    events_.reset();
    auto database = engine::Database::open(directory_ / "containers.db");
    ASSERT_TRUE(database) << database.error().message;
    database_ = *std::move(database);
    events_ = std::make_unique<engine::Events>(io_.get_executor(), *database_);
    ASSERT_TRUE(events_->load());
    volumes_ = std::make_unique<engine::Volumes>(
        engine::Volumes::Parts{.executor = io_.get_executor(),
                               .database = *database_,
                               .events = *events_,
                               .pool = pool_,
                               .disks = host_,
                               .directory = directory_ / "volumes"});
    ASSERT_TRUE(volumes_->load());
    networks_ = std::make_unique<engine::NetworkCatalog>(
        engine::NetworkCatalog::Parts{.executor = io_.get_executor(),
                                      .database = *database_,
                                      .events = *events_,
                                      .networks = host_.networks(),
                                      .host_id = kHostId});
    const auto restored = await(networks_->restore());
    ASSERT_TRUE(restored) << restored.error().message;
    container_events_ = std::make_unique<engine::ContainerEvents>(*events_);
    containers_ = std::make_unique<engine::Containers>(
        engine::EngineParts{.executor = io_.get_executor(),
                            .database = *database_,
                            .events = *container_events_,
                            .pool = pool_,
                            .images = images_,
                            .machines = host_,
                            .volumes = *volumes_,
                            .networks = *networks_,
                            .seccomp = seccomp_,
                            .directory = directory_ / "containers",
                            .default_shape = {.vcpus = 1, .memory_bytes = 512u << 20},
                            .patience = patience_,
                            .host_memory = [this] { return base::Result(memory_); }});
    execs_ = std::make_unique<engine::Execs>(io_.get_executor(), seccomp_, *container_events_);
    health_ = std::make_unique<engine::HealthMonitor>(io_.get_executor(), containers_->health(),
                                                      *execs_, kProbeStartTimeout);
    const auto recovered = await(containers_->recover());
    ASSERT_TRUE(recovered) << recovered.error().message;
  }

  /// Runs everything until `task` has ended.
  template <typename T>
  T await(net::awaitable<T> task) {
    if constexpr (std::is_void_v<T>) {
      bool done = false;
      net::co_spawn(io_, std::move(task), [&](const std::exception_ptr&) { done = true; });
      run_until([&] { return done; });
    } else {
      std::optional<T> result;
      net::co_spawn(io_, store(std::move(task), result), [](const std::exception_ptr&) {});
      run_until([&] { return result.has_value(); });
      return *std::move(result);
    }
  }

  template <typename Condition>
  void run_until(Condition holds) {
    while (!holds()) {
      io_.restart();
      io_.run_one();
    }
  }

  /// Runs what can run now.
  void settle() {
    io_.restart();
    io_.poll();
  }

  engine::ContainerPtr create(std::vector<std::string> command,
                              nlohmann::json host_config = nlohmann::json::object(),
                              nlohmann::json config = nlohmann::json::object()) {
    config["Image"] = "busybox";
    config["Cmd"] = command;
    config["HostConfig"] = host_config;
    auto settings = engine::parse_settings(config);
    EXPECT_TRUE(settings) << settings.error().message;
    engine::CreateRequest request{.name = {}, .settings = *std::move(settings)};
    auto created = await(containers_->create(std::move(request)));
    EXPECT_TRUE(created) << created.error().message;
    return *created;
  }

  net::io_context io_{1};
  std::filesystem::path directory_;
  engine::Patience patience_;  // of the next open()
  engine::HostMemory memory_{.total_bytes = std::uint64_t{64} << 30,
                             .available_bytes = std::uint64_t{64} << 30};
  FakeMachineHost host_;
  FakeImageStore images_;
  async::BlockingPool pool_{1};
  engine::SeccompFilters seccomp_{pool_, host_.kernel_release()};
  std::unique_ptr<engine::Database> database_;
  std::unique_ptr<engine::Events> events_;
  std::unique_ptr<engine::Volumes> volumes_;
  std::unique_ptr<engine::NetworkCatalog> networks_;
  std::unique_ptr<engine::ContainerEvents> container_events_;
  std::unique_ptr<engine::Containers> containers_;
  std::unique_ptr<engine::Execs> execs_;
  std::unique_ptr<engine::HealthMonitor> health_;

 private:
  template <typename T>
  static net::awaitable<void> store(net::awaitable<T> task, std::optional<T>& result) {
    result.emplace(co_await std::move(task));
  }
};

}  // namespace fakes
