// LocalMachines: Machines on this host, as clones of templates.
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

  /// Removes what an earlier daemon left of its pool and template machines, notes its containers'
  /// machines as left over, and begins to fill the pool. Blocks shortly. Once, before all else.
  void open();

  /// At most a few machines per processor start at once, the others wait for their turn: all of
  /// them at once would only make each one slower, up to its time limit.
  net::awaitable<base::Result<StartedMachine>> start(MachineSpec spec) override;
  net::awaitable<base::Result<std::shared_ptr<Machine>>> adopt(AdoptSpec spec) override;
  std::vector<std::string> left_over() const override;
  net::awaitable<void> remove_left_over() override;
  net::awaitable<void> close() override;

  std::size_t ready_clones() const { return pool_.ready(); }

 private:
  using Clone = std::shared_ptr<CloneMachine>;

  base::Result<void> check(const MachineSpec& spec) const;
  net::awaitable<base::Result<StartedMachine>> start_whole(MachineSpec spec);
  net::awaitable<base::Result<StartedMachine>> run_clone(MachineSpec spec);
  net::awaitable<base::Result<Clone>> obtain(launch::Shape shape);
  net::awaitable<base::Result<std::shared_ptr<Machine>>> adopt_whole(AdoptSpec spec);
  std::vector<EndpointLease> resume(const AdoptSpec& spec) const;
  void keep(const std::string& id, const Clone& clone);

  CloneMachine::Context context_;
  Templates& templates_;
  Networks* networks_;
  ClonePool pool_;
  async::Slots starting_;
  std::map<std::string, Clone> running_;  // null while it is being started
  std::set<std::string> left_over_;
  std::uint64_t started_ = 0;
};

}  // namespace engine
