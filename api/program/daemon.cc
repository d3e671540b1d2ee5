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
#include "api/engine/execs/execs.h"
#include "api/engine/execs/health_monitor.h"
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
constexpr std::size_t kWorkPerClient = 6;    // of kWorkThreads, for one process
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

/// The ID by which clients know this host: the same 64 hexadecimal digits after every restart.
Result<std::string> host_id(const fs::path& state) {
  const fs::path path = state / "host-id";
  std::string id;
  if (std::ifstream file(path); file && std::getline(file, id) && id.size() == 64) return id;
  id = engine::random_id();
  std::ofstream file(path);
  file << id << "\n";
  file.flush();
  if (!file) return Error{Code::kInternal, "cannot write the host's ID to " + path.string()};
  return id;
}

/// What the daemon keeps and whom it asks.
struct Stores {
  std::unique_ptr<engine::Database> database;
  std::unique_ptr<engine::Events> events;
  std::unique_ptr<images::Store> images;
  std::unique_ptr<registry::Registries> registries;
  std::unique_ptr<engine::MachineHost> machines;
};

struct Pools {
  explicit Pools(const net::any_io_executor& executor)
      : work(executor, kWorkThreads, kWorkPerClient) {}

  async::BlockingPool pool{kBlockingThreads};
  async::BlockingPool transfers{kTransferThreads};
  async::BlockingPool streams{kStreamThreads};
  async::BlockingPool spooling{kSpoolThreads};
  http::ClientPool work;
};

struct Engine {
  std::unique_ptr<engine::Volumes> volumes;
  std::unique_ptr<engine::NetworkCatalog> networks;
  std::unique_ptr<engine::ContainerEvents> container_events;
  std::unique_ptr<engine::SeccompFilters> seccomp;
  std::unique_ptr<engine::Containers> containers;
  std::unique_ptr<engine::Execs> execs;
  std::unique_ptr<engine::ContainerArchives> archives;
  std::unique_ptr<engine::ImageCommits> commits;
  std::unique_ptr<engine::build::Builds> builds;
  std::unique_ptr<engine::ContainerNetworks> container_networks;
  std::unique_ptr<engine::HealthMonitor> health;
};

struct Front {
  std::unique_ptr<http::Spool> spool;
  std::unique_ptr<docker::Api> api;
  http::Router router;
  std::unique_ptr<http::Server> server;
};

/// Everything that lives as long as the daemon. Members are destroyed from the last to the first.
struct Parts {
  net::io_context io{1};
  base::UniqueFd lock;
  std::string host_id;
  Stores stores;
  Pools pools{io.get_executor()};
  Engine engine;
  Front front;
};

Result<void> open_stores(Parts& parts, const DaemonConfig& config) {
  Stores& stores = parts.stores;
  auto database = engine::Database::open(config.state / "containers.db");
  if (!database) return std::move(database).error();
  stores.database = *std::move(database);
  stores.events = std::make_unique<engine::Events>(parts.io.get_executor(), *stores.database);
  RETURN_IF_ERROR(stores.events->load());
  const auto policy = open_signature_policy(config.signature_policy, config.signature_lookaside,
                                            config.state / "signature-keys");
  if (!policy) return policy.error();
  auto images = config.open_images(policy->for_store);
  if (!images) return base::annotate(std::move(images), "image store");
  stores.images = *std::move(images);
  registry::RegistriesOptions registry_options = config.registries;
  registry_options.admit = policy->for_pulls;
  auto registries = registry::Registries::make(std::move(registry_options), *stores.images);
  if (!registries) return std::move(registries).error();
  stores.registries = *std::move(registries);
  auto machines = config.open_machines(parts.io, parts.host_id);
  if (!machines) return base::annotate(std::move(machines), "machines");
  stores.machines = *std::move(machines);
  return {};
}

Result<void> open_containers(Parts& parts, const DaemonConfig& config) {
  const Stores& stores = parts.stores;
  Engine& engine = parts.engine;
  engine.volumes = std::make_unique<engine::Volumes>(
      engine::Volumes::Parts{.executor = parts.io.get_executor(),
                             .database = *stores.database,
                             .events = *stores.events,
                             .pool = parts.pools.pool,
                             .disks = stores.machines->disks(),
                             .directory = config.state / "volumes"});
  RETURN_IF_ERROR(engine.volumes->load());
  engine.networks = std::make_unique<engine::NetworkCatalog>(
      engine::NetworkCatalog::Parts{.executor = parts.io.get_executor(),
                                    .database = *stores.database,
                                    .events = *stores.events,
                                    .networks = stores.machines->networks(),
                                    .host_id = parts.host_id});
  engine.container_events = std::make_unique<engine::ContainerEvents>(*stores.events);
  engine.seccomp =
      std::make_unique<engine::SeccompFilters>(parts.pools.pool, stores.machines->kernel_release());
  engine.containers = std::make_unique<engine::Containers>(
      engine::EngineParts{.executor = parts.io.get_executor(),
                          .database = *stores.database,
                          .events = *engine.container_events,
                          .pool = parts.pools.pool,
                          .images = *stores.images,
                          .machines = *stores.machines,
                          .volumes = *engine.volumes,
                          .networks = *engine.networks,
                          .seccomp = *engine.seccomp,
                          .directory = config.state / "containers",
                          .default_shape = config.default_shape});
  return {};
}

/// What is done with containers and images beside running them.
void open_use_cases(Parts& parts, const DaemonConfig& config) {
  const Stores& stores = parts.stores;
  Engine& engine = parts.engine;
  const net::any_io_executor executor = parts.io.get_executor();
  engine.execs =
      std::make_unique<engine::Execs>(executor, *engine.seccomp, *engine.container_events);
  engine.archives =
      std::make_unique<engine::ContainerArchives>(*engine.containers, parts.pools.streams);
  engine.commits = std::make_unique<engine::ImageCommits>(
      engine::ImageCommits::Parts{.executor = executor,
                                  .containers = *engine.containers,
                                  .events = *stores.events,
                                  .images = *stores.images,
                                  .pool = parts.pools.pool,
                                  .streams = parts.pools.streams});
  engine.builds = std::make_unique<engine::build::Builds>(
      engine::build::BuildParts{.executor = executor,
                                .containers = *engine.containers,
                                .commits = *engine.commits,
                                .events = *stores.events,
                                .images = *stores.images,
                                .registries = *stores.registries,
                                .pool = parts.pools.pool,
                                .transfers = parts.pools.transfers,
                                .spool_directory = config.state.string()});
  engine.container_networks =
      std::make_unique<engine::ContainerNetworks>(*engine.containers, *engine.networks);
  engine.health =
      std::make_unique<engine::HealthMonitor>(executor, engine.containers->health(), *engine.execs);
}

void add_routes(http::Router& router, docker::Api& api) {
  docker::add_system_routes(router, api);
  docker::add_container_routes(router, api);
  docker::add_stream_routes(router, api);
  docker::add_archive_routes(router, api);
  docker::add_changes_routes(router, api);
  docker::add_build_routes(router, api);
  docker::add_commit_routes(router, api);
  docker::add_statistics_routes(router, api);
  docker::add_registry_routes(router, api);
  docker::add_image_routes(router, api);
  docker::add_volume_routes(router, api);
  docker::add_exec_routes(router, api);
  docker::add_network_routes(router, api);
  docker::add_minimal_routes(router, api);
}

void open_front(Parts& parts, const DaemonConfig& config) {
  const Stores& stores = parts.stores;
  const Engine& engine = parts.engine;
  Front& front = parts.front;
  front.spool = std::make_unique<http::Spool>(parts.pools.spooling, config.state.string());
  front.api = std::make_unique<docker::Api>(
      docker::Api{.containers = *engine.containers,
                  .execs = *engine.execs,
                  .use_cases = {.archives = *engine.archives,
                                .commits = *engine.commits,
                                .builds = *engine.builds,
                                .networks = *engine.container_networks},
                  .volumes = *engine.volumes,
                  .networks = *engine.networks,
                  .events = *stores.events,
                  .images = *stores.images,
                  .registries = *stores.registries,
                  .threads = {.pool = parts.pools.pool,
                              .transfers = parts.pools.transfers,
                              .streams = parts.pools.streams,
                              .work = parts.pools.work},
                  .spool = *front.spool,
                  .host = {.id = parts.host_id,
                           .state_directory = config.state.string(),
                           .kernel_release = stores.machines->kernel_release(),
                           .live_restore = config.live_restore}});
  front.router.use_spool(parts.io.get_executor(), *front.spool, parts.pools.pool);
  add_routes(front.router, *front.api);
  front.server = std::make_unique<http::Server>(
      parts.io.get_executor(), front.router,
      http::Server::Options{.limits = {.connections = connections_allowed()},
                            .fixed_headers = docker::fixed_headers()});
}

Result<void> open_parts(Parts& parts, const DaemonConfig& config) {
  auto lock = lock_state(config.state);
  if (!lock) return std::move(lock).error();
  parts.lock = *std::move(lock);
  auto id = host_id(config.state);
  if (!id) return std::move(id).error();
  parts.host_id = *std::move(id);
  RETURN_IF_ERROR(open_stores(parts, config));
  RETURN_IF_ERROR(open_containers(parts, config));
  open_use_cases(parts, config);
  open_front(parts, config);
  return {};
}

net::awaitable<Result<void>> start_serving(Parts& parts, const fs::path& socket) {
  // Before containers: those that run have their places on networks.
  auto restored = co_await parts.engine.networks->restore();
  if (!restored) co_return std::move(restored).error();
  auto recovered = co_await parts.engine.containers->recover();
  if (!recovered) co_return std::move(recovered).error();
  auto listener = http::listen_unix(socket);
  if (!listener) co_return std::move(listener).error();
  auto started = parts.front.server->start(*std::move(listener));
  if (!started) co_return std::move(started).error();
  spdlog::info("listening on {}", socket.string());
  co_return Result<void>();
}

net::awaitable<void> stop_everything(Parts& parts, const fs::path& socket) {
  spdlog::info("stopping");
  ::unlink(socket.c_str());
  co_await parts.front.server->stop();
  co_await parts.engine.containers->shut_down();
  co_await parts.engine.health->drained();
  co_await parts.engine.execs->drained();
  parts.stores.events->flush();
  co_await parts.stores.machines->close();
}

/// Leaves the machines to the next daemon. All operations have ended and are committed; the
/// coroutines that follow the machines still run.
net::awaitable<void> leave_containers_running(Parts& parts, const fs::path& socket) {
  spdlog::info("stopping; the containers go on");
  ::unlink(socket.c_str());
  co_await parts.front.server->stop();
  co_await parts.engine.containers->let_go();
  parts.stores.events->flush();
  co_await parts.stores.machines->close();
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
      // Not by way of the destructors: those coroutines still use what would be destroyed.
      spdlog::shutdown();
      ::_exit(0);
    }
    co_await stop_everything(parts, socket);
  } else {
    co_await parts.stores.machines->close();
  }
  parts.io.stop();
}

}  // namespace

Result<void> run_daemon(DaemonConfig config) {
  std::signal(SIGPIPE, SIG_IGN);
  // Whoever started the daemon may have left SIGCHLD ignored: the kernel would then not tell how a
  // child ended.
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
