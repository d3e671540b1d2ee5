#include "api/program/daemon.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <fstream>

#include "api/async/blocking_pool.h"
#include "api/docker/api.h"
#include "api/engine/containers/containers.h"
#include "api/engine/process/execs.h"
#include "api/engine/process/health_monitor.h"
#include "api/engine/state/identifiers.h"
#include "api/http/server.h"
#include "api/program/signature_policy.h"
#include "vmm/base/file_lock.h"

namespace program {

using base::Code;
using base::Error;
using base::Result;
namespace fs = std::filesystem;

namespace {

constexpr std::size_t kBlockingThreads = 4;
constexpr std::size_t kStreamThreads = 32;   // commits and copies into containers at once
constexpr std::size_t kWorkThreads = 8;      // loads, saves, imports and build contexts at once
constexpr std::size_t kSpoolThreads = 2;     // write what clients send, piece by piece
constexpr std::size_t kWorkPerClient = 6;    // of these
constexpr std::size_t kTransferThreads = 8;  // pulls, pushes and the like at once; others wait

/// Connections take at most a quarter of the descriptors: machines and files need the others.
std::size_t connections_allowed() {
  const std::size_t wanted = http::ConnectionLimits{}.connections;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return wanted;
  return std::min<std::size_t>(wanted, std::max<rlim_t>(limit.rlim_cur / 4, 16));
}

/// Held as long as this process lives: one daemon per state directory.
Result<base::UniqueFd> lock_state(const fs::path& state) {
  std::error_code error;
  fs::create_directories(state / "containers", error);
  if (error) return Error{Code::kInternal, "make " + state.string() + ": " + error.message()};
  const fs::path path = state / "containervmd.lock";
  auto lock = base::lock_file(path);
  if (!lock && lock.error().code == Code::kAlreadyExists)
    return Error{Code::kAlreadyExists, "another containervmd uses " + state.string() +
                                           "; stop it, or choose another --state"};
  return lock;
}

/// The same 64 digits after every restart.
Result<std::string> host_id(const fs::path& state) {
  const fs::path path = state / "host-id";
  std::string id;
  if (std::ifstream file(path); file && std::getline(file, id) && id.size() == 64) return id;
  id = engine::random_id();
  std::ofstream file(path);
  file << id << "\n";
  file.flush();
  if (!file) return Error{Code::kInternal, "write " + path.string()};
  return id;
}

/// Everything that lives as long as the daemon. Members are destroyed from the last to the first.
struct Parts {
  net::io_context io{1};
  base::UniqueFd lock;
  std::unique_ptr<engine::Database> database;
  std::unique_ptr<engine::Events> events;
  std::unique_ptr<images::Store> images;
  std::unique_ptr<registry::Registries> registries;
  std::unique_ptr<engine::MachineHost> machines;
  async::BlockingPool pool{kBlockingThreads};
  async::BlockingPool transfers{kTransferThreads};
  async::BlockingPool streams{kStreamThreads};
  async::BlockingPool spooling{kSpoolThreads};
  http::ClientPool work{io.get_executor(), kWorkThreads, kWorkPerClient};
  std::unique_ptr<http::Spool> spool;
  std::unique_ptr<engine::Volumes> volumes;
  std::unique_ptr<engine::ContainerEvents> container_events;
  std::unique_ptr<engine::SeccompFilters> seccomp;
  std::unique_ptr<engine::Containers> containers;
  std::unique_ptr<engine::Execs> execs;
  std::unique_ptr<engine::HealthMonitor> health;
  std::unique_ptr<docker::Api> api;
  http::Router router;
  std::unique_ptr<http::Server> server;
};

Result<void> open_parts(Parts& parts, const DaemonConfig& config) {
  auto lock = lock_state(config.state);
  if (!lock) return std::move(lock).error();
  parts.lock = *std::move(lock);
  auto id = host_id(config.state);
  if (!id) return std::move(id).error();
  auto database = engine::Database::open(config.state / "containers.db");
  if (!database) return std::move(database).error();
  parts.database = *std::move(database);
  parts.events = std::make_unique<engine::Events>(parts.io.get_executor(), *parts.database);
  RETURN_IF_ERROR(parts.events->load());
  const auto policy = open_signature_policy(config.signature_policy, config.signature_lookaside,
                                            config.state / "signature-keys");
  if (!policy) return policy.error();
  auto images = config.open_images(policy->for_store);
  if (!images) return base::annotate(std::move(images), "image store");
  parts.images = *std::move(images);
  registry::RegistriesOptions registry_options = config.registries;
  registry_options.admit = policy->for_pulls;
  auto registries = registry::Registries::make(std::move(registry_options), *parts.images);
  if (!registries) return std::move(registries).error();
  parts.registries = *std::move(registries);
  auto machines = config.open_machines(parts.io);
  if (!machines) return base::annotate(std::move(machines), "machines");
  parts.machines = *std::move(machines);

  parts.volumes = std::make_unique<engine::Volumes>(
      engine::Volumes::Parts{.executor = parts.io.get_executor(),
                             .database = *parts.database,
                             .events = *parts.events,
                             .pool = parts.pool,
                             .disks = parts.machines->disks(),
                             .directory = config.state / "volumes"});
  RETURN_IF_ERROR(parts.volumes->load());
  parts.container_events = std::make_unique<engine::ContainerEvents>(*parts.events, *id);
  parts.seccomp =
      std::make_unique<engine::SeccompFilters>(parts.pool, parts.machines->kernel_release());
  parts.containers = std::make_unique<engine::Containers>(
      engine::EngineParts{.executor = parts.io.get_executor(),
                          .database = *parts.database,
                          .events = *parts.container_events,
                          .pool = parts.pool,
                          .images = *parts.images,
                          .machines = *parts.machines,
                          .volumes = *parts.volumes,
                          .seccomp = *parts.seccomp,
                          .directory = config.state / "containers",
                          .default_shape = config.default_shape});
  parts.spool = std::make_unique<http::Spool>(parts.spooling, config.state.string());
  parts.execs = std::make_unique<engine::Execs>(parts.io.get_executor(), *parts.seccomp,
                                                *parts.container_events);
  parts.health = std::make_unique<engine::HealthMonitor>(parts.io.get_executor(),
                                                         parts.containers->health(), *parts.execs);
  parts.api = std::make_unique<docker::Api>(
      docker::Api{.executor = parts.io.get_executor(),
                  .containers = *parts.containers,
                  .execs = *parts.execs,
                  .volumes = *parts.volumes,
                  .networks = parts.machines->networks(),
                  .events = *parts.events,
                  .images = *parts.images,
                  .registries = *parts.registries,
                  .threads = {.pool = parts.pool,
                              .transfers = parts.transfers,
                              .streams = parts.streams,
                              .work = parts.work},
                  .spool = *parts.spool,
                  .host = {.id = *std::move(id),
                           .state_directory = config.state.string(),
                           .kernel_release = parts.machines->kernel_release(),
                           .live_restore = config.live_restore}});
  parts.router.use_spool(parts.io.get_executor(), *parts.spool, parts.pool);
  docker::add_system_routes(parts.router, *parts.api);
  docker::add_container_routes(parts.router, *parts.api);
  docker::add_stream_routes(parts.router, *parts.api);
  docker::add_archive_routes(parts.router, *parts.api);
  docker::add_changes_routes(parts.router, *parts.api);
  docker::add_build_routes(parts.router, *parts.api);
  docker::add_commit_routes(parts.router, *parts.api);
  docker::add_statistics_routes(parts.router, *parts.api);
  docker::add_registry_routes(parts.router, *parts.api);
  docker::add_image_routes(parts.router, *parts.api);
  docker::add_volume_routes(parts.router, *parts.api);
  docker::add_exec_routes(parts.router, *parts.api);
  docker::add_minimal_routes(parts.router, *parts.api);
  parts.server = std::make_unique<http::Server>(
      parts.io.get_executor(), parts.router,
      http::Server::Options{.limits = {.connections = connections_allowed()},
                            .fixed_headers = docker::fixed_headers()});
  return {};
}

net::awaitable<Result<void>> start_serving(Parts& parts, const fs::path& socket) {
  auto recovered = co_await parts.containers->recover();
  if (!recovered) co_return std::move(recovered).error();
  auto listener = http::listen_unix(socket);
  if (!listener) co_return std::move(listener).error();
  auto started = parts.server->start(*std::move(listener));
  if (!started) co_return std::move(started).error();
  spdlog::info("listening on {}", socket.string());
  co_return Result<void>();
}

net::awaitable<void> stop_everything(Parts& parts, const fs::path& socket) {
  spdlog::info("stopping");
  ::unlink(socket.c_str());
  co_await parts.server->stop();
  co_await parts.containers->shut_down();
  co_await parts.health->drained();
  co_await parts.execs->drained();
  parts.events->flush();
  co_await parts.machines->close();
}

/// Everything stands still and is committed then, but what follows the machines has not ended.
net::awaitable<void> leave_containers_running(Parts& parts, const fs::path& socket) {
  spdlog::info("stopping; the containers go on");
  ::unlink(socket.c_str());
  co_await parts.server->stop();
  co_await parts.containers->let_go();
  parts.events->flush();
  co_await parts.machines->close();
}

net::awaitable<void> serve(Parts& parts, const DaemonConfig& config, Result<void>& result) {
  const fs::path& socket = config.socket;
  net::signal_set signals(parts.io, SIGTERM, SIGINT);
  result = co_await start_serving(parts, socket);
  if (result) {
    co_await signals.async_wait(async::kTuple);
    // The second signal ends the process as it does by default.
    signals.clear();
    if (config.live_restore) {
      co_await leave_containers_running(parts, socket);
      // Not by way of the destructors: they would pull down what those coroutines hold.
      spdlog::shutdown();
      ::_exit(0);
    }
    co_await stop_everything(parts, socket);
  } else {
    co_await parts.machines->close();
  }
  parts.io.stop();
}

}  // namespace

Result<void> run_daemon(DaemonConfig config) {
  std::signal(SIGPIPE, SIG_IGN);
  // Who started the daemon may have left it ignored: then how a child ended could never be learnt.
  std::signal(SIGCHLD, SIG_DFL);
  ::umask(077);
  Parts parts;
  RETURN_IF_ERROR(open_parts(parts, config));
  Result<void> result;
  net::co_spawn(parts.io, serve(parts, config, result), [&](const std::exception_ptr& failure) {
    if (failure) std::rethrow_exception(failure);
  });
  try {
    parts.io.run();
  } catch (const std::exception& error) {
    return Error{Code::kInternal, error.what()};
  }
  return result;
}

}  // namespace program
