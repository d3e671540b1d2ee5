#include "api/machines/local_machines.h"

#include "api/machines/testing/machine_fixture.h"

namespace engine::testing {
namespace {

using base::Code;

class LocalMachinesTest : public MachineFixture {
 protected:
  LocalMachinesTest() {
    file("kernel", "a kernel");
    file("initramfs", "an initramfs");
  }

  ~LocalMachinesTest() override { close(); }

  void open(std::size_t pool_size) {
    close();
    launcher_ =
        std::make_unique<MonitorLauncher>(privileged_, executor(), pool_, launcher_config());
    TemplatesConfig config;
    config.root = templates_root();
    config.kernel = directory_.path() / "kernel";
    config.initramfs = directory_.path() / "initramfs";
    config.monitor = FAKE_MONITOR;
    config.tenant = "default";
    templates_ = std::make_unique<Templates>(executor(), pool_, *launcher_, config);
    machines_ = std::make_unique<LocalMachines>(CloneMachine::Context{executor(), *launcher_},
                                                *templates_, &networks_, shape_, pool_size);
    machines_->open();
  }

  void close() {
    for (const auto& machine : started_) {
      machine->kill();
      run(machine->wait_stopped());
    }
    started_.clear();
    if (machines_) run(machines_->close());
    machines_.reset();
  }

  struct Started {
    std::shared_ptr<Machine> machine;
    ProcessStart first;
  };

  /// As an engine does: a machine whose first process does not start is killed.
  base::Result<Started> start(std::string id, std::vector<std::string> argv,
                              std::uint32_t endpoints = 0) {
    MachineSpec wanted = machine_spec(std::move(id));
    for (std::uint32_t card = 0; card < endpoints; ++card) {
      wanted.endpoints.push_back(networks_.lend_next());
      wanted.endpoints.back().use_card(card);
    }
    wanted.shape = shape_;
    const auto machine = run(machines_->obtain(std::move(wanted)));
    if (!machine) return machine.error();
    auto first = run((*machine)->add_container(container_spec(std::move(argv))));
    if (first && !first->refusal) {
      started_.push_back(*machine);
      return Started{*machine, *std::move(first)};
    }
    (*machine)->kill();
    run((*machine)->wait_stopped());
    if (!first) return std::move(first).error();
    return Started{nullptr, *std::move(first)};
  }

  fs::path templates_root() const { return directory_.path() / "templates"; }

  std::size_t template_count() const {
    const fs::directory_iterator all(templates_root());
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
  }

  launch::Shape shape_{.vcpus = 1, .memory_bytes = 128u << 20};
  async::BlockingPool pool_{2};
  TestNetworks networks_;
  std::unique_ptr<MonitorLauncher> launcher_;
  std::unique_ptr<Templates> templates_;
  std::unique_ptr<LocalMachines> machines_;
  std::vector<std::shared_ptr<Machine>> started_;
};

TEST_F(LocalMachinesTest, BuildsTheTemplateOnceAndKeepsIt) {
  open(0);
  ASSERT_TRUE(start("one", {"sleep"}));
  ASSERT_TRUE(start("two", {"sleep"}));
  EXPECT_EQ(acts_.spawned, 3);  // the template's machine, two clones

  open(0);
  ASSERT_TRUE(start("three", {"sleep"}));
  EXPECT_EQ(acts_.spawned, 4);
  EXPECT_EQ(template_count(), 1u);
}

TEST_F(LocalMachinesTest, AnotherKernelMakesAnotherTemplateAndTheOldOneGoes) {
  open(0);
  ASSERT_TRUE(start("one", {"sleep"}));
  file("kernel", "another kernel");
  open(0);
  ASSERT_TRUE(start("two", {"sleep"}));

  EXPECT_EQ(acts_.spawned, 4);
  EXPECT_EQ(template_count(), 1u);
}

TEST_F(LocalMachinesTest, AMissingKernelIsAnErrorAndCanBeMended) {
  fs::remove(directory_.path() / "kernel");
  open(0);
  const auto failed = start("one", {"sleep"});
  file("kernel", "a kernel");
  const auto mended = start("one", {"sleep"});

  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Code::kNotFound);
  EXPECT_TRUE(mended) << mended.error().message;
}

TEST_F(LocalMachinesTest, StartsFromThePoolAndRefillsIt) {
  open(1);
  run_until([&] { return machines_->ready_clones() == 1; });
  ASSERT_TRUE(start("one", {"sleep"}));
  run_until([&] { return machines_->ready_clones() == 1; });

  EXPECT_TRUE(fs::exists(run_directory() / "one"));
  EXPECT_FALSE(fs::exists(run_directory() / "pool-0"));
  EXPECT_TRUE(fs::exists(run_directory() / "pool-1"));
}

TEST_F(LocalMachinesTest, RefusesAnIdThatRuns) {
  open(0);
  ASSERT_TRUE(start("one", {"sleep"}));
  const auto again = start("one", {"sleep"});
  const auto bad = start("../one", {"sleep"});

  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, Code::kAlreadyExists);
  EXPECT_EQ(bad.error().code, Code::kInvalidArgument);
}

TEST_F(LocalMachinesTest, AnIdIsFreeAgainWhenItsMachineHasEnded) {
  open(0);
  const auto first = start("one", {"sleep"});
  ASSERT_TRUE(first);
  first->machine->kill();
  run(first->machine->wait_stopped());
  const auto refused = start("one", {"missing"});
  const auto second = start("one", {"sleep"});

  ASSERT_TRUE(refused);
  EXPECT_TRUE(refused->first.refusal);
  EXPECT_TRUE(second) << second.error().message;
}

TEST_F(LocalMachinesTest, NoPathOfAFailedStartKeepsAnEndpoint) {
  open(0);
  ASSERT_TRUE(start("one", {"sleep"}, 1));
  const auto refused = start("two", {"missing"}, 1);
  const auto died = start("three", {"die"}, 1);
  const auto taken = start("one", {"sleep"}, 1);
  const auto bad = start("../four", {"sleep"}, 1);

  EXPECT_TRUE(refused && refused->first.refusal);
  EXPECT_FALSE(died);
  EXPECT_FALSE(taken);
  EXPECT_FALSE(bad);
  EXPECT_EQ(networks_.lent, std::set<std::string>{"172.17.0.2"});
  EXPECT_EQ(networks_.refills, 3);
}

TEST_F(LocalMachinesTest, OneTemplateIsForAnyNumberOfNetworks) {
  open(0);
  ASSERT_TRUE(start("one", {"sleep"}));
  ASSERT_TRUE(start("two", {"sleep"}, 1));
  ASSERT_TRUE(start("three", {"sleep"}, 2));

  EXPECT_EQ(template_count(), 1u);
}

TEST_F(LocalMachinesTest, RemovesWhatIsLeftOfAnEarlierDaemon) {
  fs::create_directory(run_directory() / "pool-7");
  fs::create_directory(run_directory() / "feed");
  open(0);

  run_until([&] { return !fs::exists(run_directory() / "pool-7"); });
  EXPECT_EQ(machines_->left_over(), std::vector<std::string>{"feed"});
  run(machines_->remove_left_over());
  EXPECT_FALSE(fs::exists(run_directory() / "feed"));
}

TEST_F(LocalMachinesTest, ANewMachineNeverGetsTheUidOfOneLeftOver) {
  open(0);
  MonitorProcess::Record record;
  record.slot = 0;
  fs::create_directory(run_directory() / "feed");
  const wire::Bytes bytes = wire::encode(record);
  std::ofstream(run_directory() / "feed" / "record", std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  open(0);
  ASSERT_TRUE(start("one", {"sleep"}));

  EXPECT_EQ(acts_.slots, (std::set<MonitorSlot>{0, 1}));
  run(machines_->remove_left_over());
}

TEST(ShapeTest, MemoryIsAPowerOfTwoAboveTheLimit) {
  const launch::Shape fallback{.vcpus = 1, .memory_bytes = 512u << 20};

  EXPECT_EQ(shape_for(0, 0, fallback).memory_bytes, 512u << 20);
  EXPECT_EQ(shape_for(6u << 20, 0, fallback).memory_bytes, 128u << 20);
  EXPECT_EQ(shape_for(512u << 20, 0, fallback).memory_bytes, 1024u << 20);
  EXPECT_EQ(shape_for(0, 1'500'000'000, fallback).vcpus, 2u);
}

}  // namespace
}  // namespace engine::testing
