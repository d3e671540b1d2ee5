// VolumeClaims: lets each volume that is a disk be one machine's at a time, and knows whose machine
// has which. Volumes in directories are everybody's.
//
// A VolumeClaim is of all the volumes of a container at once, so that two containers never wait for
// each other's. It is held by whoever has a machine with them: a run, or a task of the files tool.
// A container has one claim at a time, since both take it under the container's transition lock,
// when its last machine has ended.
//
// Threads: the io_context thread. Volumes and Background outlive it; a claim may outlive the
// VolumeClaims, and is of nothing then. Errors: kConflict, in Docker's manner, for a volume that
// another running container has, and for a container that is being removed; kUnavailable at the
// daemon's end.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "api/async/net.h"
#include "api/engine/container/container.h"
#include "api/engine/containers/background.h"
#include "api/engine/volumes/volumes.h"

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

  /// Gives the volumes back: nothing of the container's uses them any more.
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
  VolumeClaims(const Volumes& volumes, const Background& background)
      : volumes_(volumes),
        background_(background),
        holders_(std::make_shared<VolumeClaim::Holders>()) {}

  /// Claims the container's volumes for a machine that is about to start. Waits while another
  /// container that has one of them is only winding down.
  net::awaitable<base::Result<VolumeClaim>> claim(ContainerPtr container);
  /// Claims them for a machine that has them already, as an earlier daemon started it.
  VolumeClaim hold(const ContainerPtr& container);

  /// Wakes those that wait for a volume that `container` mentions, to look again whether they may
  /// go on.
  void wake_waiters(const Container& container) const;

 private:
  const Volumes& volumes_;
  const Background& background_;
  std::shared_ptr<VolumeClaim::Holders> holders_;
};

}  // namespace engine
