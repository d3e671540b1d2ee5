// VolumeClaims: whose machine has which volume. A volume is one machine's at a time.
//
// A VolumeClaim is all of a container's volumes at once, so that two containers never wait for each
// other's. Whoever has a machine with these volumes holds it: a run, or a task of the files tool.
// There is one of a container at a time: either holder has waited for the end of the container's
// last machine, under its transition lock.
//
// Threads: the io_context thread. Background outlives it; a claim may outlive it, and is of nothing
// then.
// Errors: kConflict, in Docker's manner, for a volume that another running container has, and for a
// container that is being removed; kUnavailable at the daemon's end.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "api/async/net.h"
#include "api/engine/container/container.h"
#include "api/engine/containers/background.h"

namespace engine {

/// Move-only; its destruction gives the volumes back, and wakes those that wait for them.
class [[nodiscard]] VolumeClaim {
 public:
  VolumeClaim() = default;  // of nothing
  VolumeClaim(VolumeClaim&& other) noexcept = default;
  VolumeClaim& operator=(VolumeClaim&& other) noexcept;
  VolumeClaim(const VolumeClaim&) = delete;
  VolumeClaim& operator=(const VolumeClaim&) = delete;
  ~VolumeClaim() { give_back(); }

  /// Nothing of the container's uses its volumes any more.
  void give_back();

 private:
  friend class VolumeClaims;
  using Holders = std::map<std::string, ContainerPtr>;  // volume -> whose machine has it

  VolumeClaim(const std::shared_ptr<Holders>& holders, ContainerPtr container)
      : holders_(holders), container_(std::move(container)) {}

  std::weak_ptr<Holders> holders_;
  ContainerPtr container_;
};

class VolumeClaims {
 public:
  explicit VolumeClaims(const Background& background)
      : background_(background), holders_(std::make_shared<VolumeClaim::Holders>()) {}

  /// For a machine that is about to start. Waits for a machine that is only winding down.
  net::awaitable<base::Result<VolumeClaim>> claim(ContainerPtr container);
  /// For a machine that has them: an earlier daemon started it.
  VolumeClaim hold(const ContainerPtr& container);

  /// Those that wait for the volumes that `container` mentions look again whether they may.
  void wake_waiters(const Container& container) const;

 private:
  const Background& background_;
  std::shared_ptr<VolumeClaim::Holders> holders_;
};

}  // namespace engine
