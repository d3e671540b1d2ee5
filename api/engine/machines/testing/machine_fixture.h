// What tests of machines share: a directory, an io_context, and monitors that are fake_monitor.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>

#include "api/async/blocking_pool.h"
#include "api/engine/machines/clone_machine.h"

namespace engine::testing {

namespace fs = std::filesystem;

/// A directory of the test's own, removed at its end.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = fs::temp_directory_path() / "machines-test-XXXXXX";
    path_ = ::mkdtemp(name.data());
  }
  ~TemporaryDirectory() { fs::remove_all(path_); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

/// Spawns for real; has no KVM, no cgroups, no network.
class TestPrivileged : public Privileged {
 public:
  std::map<std::string, GroupWeights> group_weights;

  base::Result<base::UniqueFd> open_kvm() override {
    return base::UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC));
  }
  base::Result<SpawnedMonitor> spawn_monitor(const MonitorSpec& spec) override {
    ++spawned;
    last_uid = spec.uid;
    return base::spawn(
        {.argv = {spec.program},
         .descriptors = {-1, -1, spec.log_file, spec.control_socket, spec.kvm, spec.result_file},
         .group = -1,
         .oom_score_adj = 0});
  }
  base::Result<void> set_weights(const std::string& group, const GroupWeights& weights) override {
    group_weights[group] = weights;
    return {};
  }
  void remove_group(const std::string&) override {}
  base::Result<void> create_bridge(const BridgeSpec&) override { return none(); }
  base::Result<base::UniqueFd> create_tap(const TapRule&, const std::string&,
                                          std::uint32_t) override {
    return none();
  }
  base::Result<void> delete_bridge(const std::string&) override { return none(); }
  base::Result<void> enable_forwarding() override { return none(); }
  base::Result<void> install_rules(const RuleSpec&) override { return none(); }
  base::Result<void> remove_rules(const std::string&) override { return none(); }
  base::Result<void> allow_tap(const TapRule&) override { return none(); }
  base::Result<void> forbid_tap(const TapRule&) override { return none(); }

  int spawned = 0;
  uid_t last_uid = 0;

 private:
  static base::Error none() { return {base::Code::kNotSupported, "not in this test"}; }
};

/// Keeps what it is given; can be told to hold each write back.
class CollectingSink : public OutputSink {
 public:
  explicit CollectingSink(net::any_io_executor executor, bool held = false) : gate_(executor) {
    if (!held) gate_.set();
  }

  net::awaitable<void> write(protocol::Stream stream, std::span<const std::byte> bytes) override {
    EXPECT_FALSE(busy_[stream]) << "two writes at once";
    busy_[stream] = true;
    offered += bytes.size();
    co_await gate_.wait();
    text[stream].append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    busy_[stream] = false;
  }

  void hurry() override { gate_.set(); }
  void open_gate() { gate_.set(); }
  std::string out() { return text[protocol::Stream::kStdout]; }
  std::string err() { return text[protocol::Stream::kStderr]; }

  std::map<protocol::Stream, std::string> text;
  std::size_t offered = 0;

 private:
  async::Latch gate_;
  std::map<protocol::Stream, bool> busy_;
};

class MachineFixture : public ::testing::Test {
 protected:
  MachineFixture() { fs::create_directory(run_directory()); }

  fs::path run_directory() const { return directory_.path() / "run"; }

  /// Runs the io_context until `operation` is done.
  template <typename T>
  T run(net::awaitable<T> operation) {
    std::optional<T> result;
    net::co_spawn(*io_, store(std::move(operation), &result), net::detached);
    run_until([&] { return result.has_value(); });
    return std::move(*result);
  }
  void run(net::awaitable<void> operation) {
    bool done = false;
    net::co_spawn(*io_, note(std::move(operation), &done), net::detached);
    run_until([&] { return done; });
  }
  template <typename F>
  void run_until(F done) {
    while (!done()) {
      io_->restart();
      if (io_->run_one() == 0) FAIL() << "nothing is left that could complete";
    }
  }

  net::any_io_executor executor() { return io_->get_executor(); }

  MonitorLauncher::Config launcher_config() const {
    return {
        .run = run_directory(), .program = FAKE_MONITOR, .group_prefix = "test-", .first_uid = 0};
  }

  fs::path file(const std::string& name, const std::string& content) {
    const fs::path path = directory_.path() / name;
    std::ofstream(path) << content;
    return path;
  }

  static constexpr protocol::Secret kSecret = {1, 2, 3};

  MachineSpec spec(std::vector<std::string> argv, std::shared_ptr<OutputSink> sink = nullptr) {
    MachineSpec spec;
    spec.id = "c0ffee";
    spec.disk = file("disk", std::string(4096, '\0'));
    spec.layers = {{file("layer", std::string(4096, 'l')), 4096}};
    spec.machine_id = std::string(32, 'a');
    spec.secret = kSecret;
    spec.process.process = 1;
    spec.process.argv = std::move(argv);
    spec.sink = std::move(sink);
    return spec;
  }

  TemporaryDirectory directory_;
  TestPrivileged privileged_;
  std::unique_ptr<net::io_context> io_ = std::make_unique<net::io_context>();

 private:
  template <typename T>
  static net::awaitable<void> store(net::awaitable<T> operation, std::optional<T>* result) {
    result->emplace(co_await std::move(operation));
  }
  static net::awaitable<void> note(net::awaitable<void> operation, bool* done) {
    co_await std::move(operation);
    *done = true;
  }
};

}  // namespace engine::testing
