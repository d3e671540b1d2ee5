// LocalMachines: Machines on this host, as clones of templates.
//
// Threads: the io_context thread. What it is given outlives it; await close() before its
// destruction.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "api/async/slots.h"
#include "api/machines/clone_machine.h"
#include "api/machines/clone_pool.h"
#include "api/machines/templates/templates.h"
#include "api/networks/networks.h"

namespace engine {

class LocalMachines final : public Machines {
 public:
  /// `networks` may be null: then no spec may have endpoints.
  LocalMachines(CloneMachine::Context context, Templates& templates, Networks* networks,
                launch::Shape default_shape, std::size_t pool_size);

  /// Takes note of the containers' machines of an earlier daemon as left over, and begins to remove
  /// what that daemon left of its pool and template machines; then fills the pool. Once, before all
  /// else.
  void open();

  /// At most a few machines per processor start at once, until their first container is in; the
  /// others wait for their turn: all of them at once would only make each one slower, up to its
  /// time limit.
  net::awaitable<base::Result<std::shared_ptr<Machine>>> obtain(MachineSpec spec) override;
  net::awaitable<base::Result<std::shared_ptr<Machine>>> adopt(AdoptSpec spec) override;
  std::vector<std::string> left_over() const override;
  net::awaitable<void> remove_left_over() override;
  net::awaitable<base::Result<HostFile>> check_host_path(std::string path) override;
  net::awaitable<void> close() override;

  std::size_t ready_clones() const { return pool_.ready(); }

 private:
  using Clone = std::shared_ptr<CloneMachine>;

  /// Reserves the slots of left-over machines, so that no new machine gets one of them; removes
  /// what is left of pool and template machines; then fills the pool.
  static net::awaitable<void> settle(LocalMachines* self, std::vector<std::string> names);
  base::Result<void> check(const MachineSpec& spec) const;
  net::awaitable<base::Result<std::shared_ptr<Machine>>> obtain_whole(MachineSpec spec);
  net::awaitable<base::Result<Clone>> make(MachineSpec spec);
  net::awaitable<base::Result<Clone>> clone_of(launch::Shape shape);
  net::awaitable<base::Result<std::shared_ptr<Machine>>> adopt_whole(AdoptSpec spec);
  net::awaitable<std::vector<EndpointLease>> resume(std::string id,
                                                    std::vector<Endpoint> endpoints) const;
  void keep(const std::string& id, const Clone& clone);

  CloneMachine::Context context_;
  Templates& templates_;
  Networks* networks_;
  ClonePool pool_;
  async::Slots starting_;
  std::map<std::string, Clone> running_;  // null while it is being started
  std::set<std::string> left_over_;
  async::Latch settled_;
  std::uint64_t started_ = 0;
};

}  // namespace engine
