#include "api/engine/sharing/donors.h"

#include <algorithm>
#include <array>
#include <set>

#include "api/engine/container/state_errors.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

std::array<const std::string*, 3> donors_said(const Container& container) {
  const Sharing& sharing = container.settings.sharing;
  return {&sharing.network, &sharing.ipc, &sharing.pid};
}

Result<ContainerPtr> network_donor(const Container& container, const FindContainer& find) {
  const std::string& said = container.settings.sharing.network;
  if (said.empty()) return ContainerPtr();
  auto found = find(said);
  if (!found) return found;
  const Container& donor = **found;
  if (&donor == &container) return Error{Code::kInternal, "cannot join own network"};
  if (donor.state.status == Status::kRestarting) return restarting(donor);
  if (!donor.state.running() || !donor.run.machine)
    return Error{Code::kConflict, "cannot join network of a non running container: " + said};
  return found;
}

/// For the namespaces of which Docker says only whether the other container runs.
Result<ContainerPtr> running_donor(const Container& container, const std::string& said,
                                   const FindContainer& find) {
  auto found = find(said);
  if (!found) return Error{Code::kInvalidArgument, found.error().message};
  const Container& donor = **found;
  if (donor.state.status == Status::kRestarting) return restarting(donor);
  if (!donor.state.running() || !donor.run.machine || &donor == &container)
    return not_running(donor);
  return found;
}

Result<ContainerPtr> ipc_donor(const Container& container, const FindContainer& find) {
  const std::string& said = container.settings.sharing.ipc;
  if (said.empty()) return ContainerPtr();
  constexpr const char* kFailed = "failed to join IPC namespace";
  auto donor = running_donor(container, said, find);
  if (!donor) return base::annotate(std::move(donor).error(), kFailed);
  const Sharing& shared = (*donor)->settings.sharing;
  if (shared.shareable_ipc || !shared.ipc.empty()) return donor;
  return Error{Code::kInvalidArgument,
               std::string(kFailed) + ": container " + (*donor)->id +
                   ": non-shareable IPC (hint: use IpcMode:shareable for the donor container)"};
}

/// Docker finds it when it makes the container's specification, and what goes wrong then is its own
/// failure (500).
Result<ContainerPtr> pid_donor(const Container& container, const FindContainer& find) {
  const std::string& said = container.settings.sharing.pid;
  if (said.empty()) return ContainerPtr();
  auto donor = running_donor(container, said, find);
  if (donor) return donor;
  return Error{Code::kInternal, "failed to join PID namespace: " + donor.error().message};
}

Result<void> check_same_machine(const Donors& donors) {
  const ContainerPtr& first = donors.any();
  for (const ContainerPtr* donor : {&donors.network, &donors.ipc, &donors.pid})
    if (*donor && (*donor)->run.machine != first->run.machine)
      return Error{Code::kConflict, "cannot share namespaces of both " + first->name + " and " +
                                        (*donor)->name + ": they are in different machines"};
  return {};
}

std::uint32_t number_of(const ContainerPtr& donor) {
  return donor ? donor->state.machine.number : 0;
}

bool names(const Container& container, const Container& donor, const FindContainer& find) {
  const auto said = donors_said(container);
  return std::any_of(said.begin(), said.end(), [&](const std::string* name) {
    if (name->empty()) return false;
    const auto found = find(*name);
    return found && found->get() == &donor;
  });
}

}  // namespace

Result<Donors> find_donors(const Container& container, const FindContainer& find) {
  auto network = network_donor(container, find);
  if (!network) return std::move(network).error();
  auto ipc = ipc_donor(container, find);
  if (!ipc) return std::move(ipc).error();
  auto pid = pid_donor(container, find);
  if (!pid) return std::move(pid).error();
  Donors donors{.network = *std::move(network), .ipc = *std::move(ipc), .pid = *std::move(pid)};
  RETURN_IF_ERROR(check_same_machine(donors));
  return donors;
}

protocol::PrepareContainer::Namespaces namespaces_of(const Container& container,
                                                     const Donors& donors) {
  const bool in_others_machine = container.settings.sharing.joins();
  return {.network = number_of(donors.network),
          .only_loopback = in_others_machine && !donors.network,
          .ipc = number_of(donors.ipc),
          .pid = number_of(donors.pid)};
}

std::vector<ContainerPtr> joiners_of(const Container& container,
                                     const std::vector<ContainerPtr>& all,
                                     const FindContainer& find) {
  std::vector<ContainerPtr> joiners;
  std::vector<const Container*> donors{&container};
  std::set<const Container*> seen{&container};
  for (std::size_t i = 0; i < donors.size(); ++i) {
    for (const ContainerPtr& other : all) {
      if (!other->settings.sharing.joins() || !names(*other, *donors[i], find)) continue;
      if (!seen.insert(other.get()).second) continue;
      donors.push_back(other.get());
      joiners.push_back(other);
    }
  }
  return joiners;
}

ContainerPtr donor_to_wait_for(const Container& container, const FindContainer& find) {
  for (const std::string* said : donors_said(container)) {
    if (said->empty()) continue;
    const auto donor = find(*said);
    if (donor && donor->get() != &container && (*donor)->state.status == Status::kRestarting)
      return *donor;
  }
  return nullptr;
}

}  // namespace engine
