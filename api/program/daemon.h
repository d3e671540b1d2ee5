// Daemon: puts the parts together and runs them from start to orderly end.
//
// Order at start: state directory and its lock, database, images, machines, then recovery; the
// socket opens last, so that a client never sees half of it. At SIGTERM or SIGINT: no further
// requests, every container is stopped as `docker stop` does (or, with live restore, goes on
// running), machines and networks are closed. A second signal ends at once; the next start then
// settles what was left.
// Threads: run() is the io_context thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <functional>
#include <memory>

#include "api/machines/machine_host.h"
#include "images/registry/registries.h"
#include "images/store/store.h"
#include "vmm/base/result.h"

namespace program {

struct DaemonConfig {
  std::filesystem::path state;
  std::filesystem::path socket;
  bool live_restore = false;
  registry::RegistriesOptions registries{};     // `admit` comes from the signature policy
  std::filesystem::path signature_policy{};     // empty: every image is accepted
  std::filesystem::path signature_lookaside{};  // may be empty
  launch::Shape default_shape{.vcpus = 1, .memory_bytes = 512ull << 20};
  /// Called in the order of the struct, once the state directory is locked.
  std::function<base::Result<std::unique_ptr<images::Store>>(std::shared_ptr<images::Admission>)>
      open_images{};
  std::function<base::Result<std::unique_ptr<engine::MachineHost>>(boost::asio::io_context&,
                                                                   const std::string& host_id)>
      open_machines{};
};

/// Runs until a signal ends it. An Error says why it could not start.
base::Result<void> run_daemon(DaemonConfig config);

}  // namespace program
