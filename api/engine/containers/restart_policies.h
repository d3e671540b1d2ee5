// RestartPolicies: decides what becomes of a container whose run has ended: it is removed
// (AutoRemove), starts again (its restart policy), or stays as it is.
//
// Threads: the io_context thread. What it is given outlives it, and it outlives the runs. At the
// daemon's end no policy acts any more.
// Spec: Docker Engine API 1.51, RestartPolicy; the delays are dockerd's.
#pragma once

#include <chrono>

#include "api/async/net.h"
#include "api/engine/containers/background.h"
#include "api/engine/containers/container_table.h"
#include "api/engine/containers/container_volumes.h"
#include "api/engine/containers/removal.h"
#include "api/engine/containers/runs.h"

namespace engine {

class RestartPolicies final : public RunPolicy {
 public:
  RestartPolicies(ContainerTable& table, ContainerVolumes& volumes, Runs& runs, Removal& removal,
                  Background& background)
      : table_(table), volumes_(volumes), runs_(runs), removal_(removal), background_(background) {}

  bool restarts(const Container& container) const override;
  void run_ended(const ContainerPtr& container, Machine& machine, TimeNs ran) override;
  void start_failed(const ContainerPtr& container) override;

  /// Removes a container that did not run when this daemon came, or starts it again, as it was
  /// created to.
  void resume(const ContainerPtr& container, bool was_restarting);

 private:
  net::awaitable<void> wait_for_donors(ContainerPtr container);
  net::awaitable<void> restart_later(ContainerPtr container, std::chrono::milliseconds delay);

  ContainerTable& table_;
  ContainerVolumes& volumes_;
  Runs& runs_;
  Removal& removal_;
  Background& background_;
};

}  // namespace engine
