// Donors: the containers whose namespaces another one has, and in whose machine it therefore is.
//
// Threads: the io_context thread. Errors are those of a start, in Docker's words: kNotFound and
// kConflict for a network; what is wrong with an IPC or a PID namespace has the code that Docker
// gives it.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "api/engine/container/container.h"
#include "guest-init/protocol/messages.h"
#include "vmm/base/result.h"

namespace engine {

/// Finds a container by its name or ID, as clients call it.
using FindContainer = std::function<base::Result<ContainerPtr>(std::string_view named)>;

/// Null: the container has that namespace of its own. All are in the same machine.
struct Donors {
  ContainerPtr network;
  ContainerPtr ipc;
  ContainerPtr pid;

  /// One of them; null if there is none.
  const ContainerPtr& any() const { return network ? network : ipc ? ipc : pid; }
};

/// The donors of a container that starts, all of which run now.
base::Result<Donors> find_donors(const Container& container, const FindContainer& find);

/// What `namespaces` of the machine's containers that makes.
protocol::PrepareContainer::Namespaces namespaces_of(const Container& container,
                                                     const Donors& donors);

/// The containers that would be in the machine of `container`, if all ran that can: those that name
/// it as a donor, and those that name these.
/// `all`: the containers that there are.
std::vector<ContainerPtr> joiners_of(const Container& container,
                                     const std::vector<ContainerPtr>& all,
                                     const FindContainer& find);

/// Whether a donor is about to be restarted by its policy, so that it will run soon. Null: none is.
ContainerPtr donor_to_wait_for(const Container& container, const FindContainer& find);

}  // namespace engine
