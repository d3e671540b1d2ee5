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
  bool stalled = false;     // the guest answers nothing any more
  bool unkillable = false;  // nor does the monitor end
};

class FakeMachineHost final : public engine::MachineHost,
                              public engine::Machines,
                              public engine::Networks,
                              public engine::Disks {
 public:
  explicit FakeMachineHost(net::any_io_executor executor) : executor_(executor) {}

  engine::Machines& machines() override { return *this; }
  engine::Networks& networks() override { return *this; }
  engine::Disks& disks() override { return *this; }
  std::string kernel_release() const override { return "6.12-fake"; }
  net::awaitable<void> close() override { co_return; }

  net::awaitable<base::Result<engine::StartedMachine>> start(engine::MachineSpec spec) override;
  net::awaitable<base::Result<std::shared_ptr<engine::Machine>>> adopt(
      engine::AdoptSpec spec) override;
  std::vector<std::string> left_over() const override { return {}; }
  net::awaitable<void> remove_left_over() override { co_return; }

  engine::NetworkInfo default_network() const override;
  net::awaitable<base::Result<engine::EndpointLease>> connect(std::string network) override;
  base::Result<engine::EndpointLease> resume(const engine::Endpoint& endpoint) override;
  std::string resolv_conf(std::vector<std::string> servers, std::vector<std::string> search,
                          std::vector<std::string> options) const override;

  net::awaitable<base::Result<void>> create(std::filesystem::path path,
                                            std::uint64_t bytes) override;

  /// The spec of the last start(), without its endpoints, for tests that look at it.
  const engine::MachineSpec& last_spec() const { return last_spec_; }
  /// And of the last adopt().
  const protocol::Secret& last_adopted_secret() const { return last_adopted_secret_; }
  std::size_t endpoints_in_use() const { return in_use_.size(); }
  void fail_next_start(base::Error error) { next_failure_ = std::move(error); }
  /// What every run of the files tool sends.
  void set_files_answer(std::vector<std::byte> frames) { files_->answer = std::move(frames); }
  /// Whether the container stood still in the last run of the files tool.
  bool files_were_frozen() const { return files_->frozen; }
  /// The files tool says nothing from now on, and does not end by itself.
  void hang_files_tools() { files_->hangs = true; }
  int files_tools_running() const { return files_->running; }
  FakeTrouble& trouble() { return *trouble_; }
  /// The container's machine outlived an earlier daemon: adopt() finds it, its process sleeping.
  void leave_running(std::string id) { survivors_.insert(std::move(id)); }
  /// What adopt() found last; null if it found nothing yet.
  std::shared_ptr<engine::Machine> last_adopted() const { return last_adopted_; }

 private:
  void take_back(const engine::Endpoint& endpoint) override { in_use_.erase(endpoint.mac[5]); }

  net::any_io_executor executor_;
  engine::MachineSpec last_spec_;
  protocol::Secret last_adopted_secret_{};
  std::set<int> in_use_;  // last numbers of addresses
  std::optional<base::Error> next_failure_;
  std::set<std::string> survivors_;
  std::shared_ptr<engine::Machine> last_adopted_;
  std::shared_ptr<FakeFiles> files_ = std::make_shared<FakeFiles>();
  std::shared_ptr<FakeTrouble> trouble_ = std::make_shared<FakeTrouble>();
};

}  // namespace fakes
