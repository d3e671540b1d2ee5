// Asks a container's guest what the container uses and which processes it has.
//
// Threads: the io_context thread. Of the container only its state and its machine are read.
// Trust: numbers and texts are the guest's. The list of its processes is as long as one message of
// it may be: what is made of that (process_table.h) belongs on a pool's thread.
#pragma once

#include <cstdint>
#include <optional>

#include "api/async/net.h"
#include "api/engine/container/container.h"
#include "api/engine/resources/usage.h"
#include "api/engine/state/timestamp.h"
#include "guest-init/protocol/messages.h"
#include "vmm/base/result.h"

namespace engine {

/// One look at a container.
struct UsageSample {
  TimeNs time = 0;
  std::uint64_t host_cpu_ns = 0;  // of all the host's processors since its boot
  std::optional<Usage> usage;     // none if the container does not run or its guest does not answer
};

net::awaitable<UsageSample> sample_usage(ContainerPtr container);

/// The processes of a container that runs. kConflict with Docker's words for any other.
net::awaitable<base::Result<protocol::ProcessList>> list_processes(ContainerPtr container);

}  // namespace engine
