// The Docker Engine API: which handler answers which path. One add_*_routes() per group of the API.
//
// Threads: the io_context thread. What Api refers to outlives the Router.
// Spec: Docker Engine API 1.51 (1.24 and up are answered in the same shapes).
#pragma once

#include <cstdint>
#include <string>

#include "api/async/blocking_pool.h"
#include "api/engine/build/builds.h"
#include "api/engine/connections/container_networks.h"
#include "api/engine/containers/containers.h"
#include "api/engine/execs/execs.h"
#include "api/engine/files/container_archives.h"
#include "api/engine/images/image_commits.h"
#include "api/engine/networks/network_catalog.h"
#include "api/engine/state/events.h"
#include "api/engine/volumes/volumes.h"
#include "api/http/client_slots.h"
#include "api/http/router.h"
#include "api/http/spool.h"
#include "images/registry/registries.h"
#include "images/store/store.h"

namespace docker {

inline constexpr std::string_view kProductVersion = "0.1.0";
/// An archive that a client sends: an image, a build context, files for a container.
inline constexpr std::uint64_t kMaxUpload = std::uint64_t{64} << 30;

/// The pools on which blocking work is done.
struct Threads {
  async::BlockingPool& pool;
  async::BlockingPool& transfers;  // waits for registries
  async::BlockingPool& streams;    // waits for guests, for as long as they like
  http::ClientPool& work;          // images in and out, build contexts: waits for nobody
};

/// What clients are told of the host.
struct HostFacts {
  std::string id;               // 64 hex digits: the same after every restart
  std::string state_directory;  // shown as DockerRootDir
  std::string kernel_release;   // the guests', shown as KernelVersion
  bool live_restore = false;
};

/// Operations that take more than one call of a container or an image.
struct UseCases {
  engine::ContainerArchives& archives;
  engine::ImageCommits& commits;
  engine::build::Builds& builds;
  engine::ContainerNetworks& networks;
};

/// What the handlers work with.
struct Api {
  engine::Containers& containers;
  engine::Execs& execs;
  UseCases use_cases;
  engine::Volumes& volumes;
  engine::NetworkCatalog& networks;
  engine::Events& events;
  images::Store& images;
  registry::Registries& registries;
  Threads threads;
  http::Spool& spool;  // what clients have sent, and what they will get
  HostFacts host;
};

/// _ping, version, info, events, system/df.
void add_system_routes(http::Router& router, Api& api);
/// containers/...: create, list, inspect and every change of state.
void add_container_routes(http::Router& router, Api& api);
/// containers/{id}/archive, export: a container's files as tar archives.
void add_archive_routes(http::Router& router, Api& api);
/// containers/{id}/changes: what differs from the image.
void add_changes_routes(http::Router& router, Api& api);
/// commit: an image from a container.
void add_commit_routes(http::Router& router, Api& api);
/// build: images from Dockerfiles.
void add_build_routes(http::Router& router, Api& api);
/// containers/{id}/stats.
void add_statistics_routes(http::Router& router, Api& api);
/// containers/{id}/attach, logs, wait: long answers and hijacked connections.
void add_stream_routes(http::Router& router, Api& api);
/// auth, distribution/{name}/json, images/search, images/{name}/push: what asks registries.
void add_registry_routes(http::Router& router, Api& api);
/// images/...: list, inspect, change, load, import, pull, save.
void add_image_routes(http::Router& router, Api& api);
/// containers/{id}/exec, exec/...: further processes in running containers.
void add_exec_routes(http::Router& router, Api& api);
/// volumes/...
void add_volume_routes(http::Router& router, Api& api);
/// networks/...
void add_network_routes(http::Router& router, Api& api);
/// swarm, plugins, and what this host does not do: answered in such a way that clients go on,
/// without pretending anything.
void add_minimal_routes(http::Router& router, Api& api);

/// Complete header lines for every response.
std::string fixed_headers();

}  // namespace docker
