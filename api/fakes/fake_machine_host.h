// FakeMachineHost: machines without virtual machines, for tests of the API. The "guest" knows a few
// commands (fake_machine_host.cc lists them); disks are empty files, addresses are counted up.
#pragma once

#include <boost/asio/io_context.hpp>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "api/async/net.h"
#include "api/fakes/fake_networks.h"
#include "api/machines/machine_host.h"

namespace fakes {

struct FakeFiles {
  std::vector<std::byte> answer;
  bool frozen = false;
  bool hangs = false;  // the tool says nothing and ends only by a signal
  int running = 0;
};

/// What is wrong with all machines.
struct FakeTrouble {
  bool stalled = false;          // the guest answers nothing any more
  bool unkillable = false;       // nor does the monitor end
  bool refused_network = false;  // no further network card can be set up
};

struct FakeSpecs {
  engine::MachineSpec machine;
  engine::ContainerSpec container;
  protocol::UpdateNetworkFiles network_files;
};

class FakeMachineHost final : public engine::MachineHost,
                              public engine::Machines,
                              public engine::Disks {
 public:
  explicit FakeMachineHost(net::any_io_executor executor) : executor_(executor) {}

  engine::Machines& machines() override { return *this; }
  FakeNetworks& networks() override { return networks_; }
  engine::Disks& disks() override { return *this; }
  std::string kernel_release() const override { return "6.12-fake"; }
  net::awaitable<void> close() override { co_return; }

  net::awaitable<base::Result<std::shared_ptr<engine::Machine>>> obtain(
      engine::MachineSpec spec) override;
  net::awaitable<base::Result<std::shared_ptr<engine::Machine>>> adopt(
      engine::AdoptSpec spec) override;
  std::vector<std::string> left_over() const override { return {}; }
  net::awaitable<void> remove_left_over() override { co_return; }
  net::awaitable<base::Result<engine::HostFile>> check_host_path(std::string path) override;

  /// Nothing is at these paths of the host.
  std::set<std::string> missing_host_paths;
  std::set<std::string> host_sockets;
  std::set<std::string> host_regular_files;  // what else is there is a directory
  /// Containers may not have these, for this reason.
  std::map<std::string, base::Error> refused_host_paths;

  net::awaitable<base::Result<void>> create(std::filesystem::path path,
                                            std::uint64_t bytes) override;

  /// The last machine that was obtained, without its endpoints, and the last container that was
  /// added to any, for tests that look at them.
  const engine::MachineSpec& last_machine() const { return last_->machine; }
  const engine::ContainerSpec& last_container() const { return last_->container; }
  /// What any machine was last told of its network files.
  const protocol::UpdateNetworkFiles& last_network_files() const { return last_->network_files; }
  /// The secret of the last adopt().
  const protocol::Secret& last_adopted_secret() const { return last_adopted_secret_; }
  std::size_t endpoints_in_use() const { return networks_.endpoints_in_use(); }
  void fail_next_start(base::Error error) { next_failure_ = std::move(error); }
  /// What every run of the files tool sends.
  void set_files_answer(std::vector<std::byte> frames) { files_->answer = std::move(frames); }
  /// Whether the container stood still in the last run of the files tool.
  bool files_were_frozen() const { return files_->frozen; }
  /// The files tool says nothing from now on, and does not end by itself.
  void hang_files_tools() { files_->hangs = true; }
  int files_tools_running() const { return files_->running; }
  FakeTrouble& trouble() { return *trouble_; }
  /// The machine of which the container was the first outlived an earlier daemon: adopt() finds it,
  /// its processes sleeping.
  void leave_running(std::string id) { survivors_.insert(std::move(id)); }
  /// What adopt() found last; null if it found nothing yet.
  std::shared_ptr<engine::Machine> last_adopted() const { return last_adopted_; }

 private:
  net::any_io_executor executor_;
  FakeNetworks networks_;
  std::shared_ptr<FakeSpecs> last_ = std::make_shared<FakeSpecs>();
  protocol::Secret last_adopted_secret_{};
  std::optional<base::Error> next_failure_;
  std::set<std::string> survivors_;
  std::shared_ptr<engine::Machine> last_adopted_;
  std::shared_ptr<FakeFiles> files_ = std::make_shared<FakeFiles>();
  std::shared_ptr<FakeTrouble> trouble_ = std::make_shared<FakeTrouble>();
};

}  // namespace fakes
