// The devices of a machine that never runs. Needs /dev/kvm, but nothing that a guest does.
#include "vmm/machine/device_set.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <optional>

#include "vmm/base/seqpacket.h"
#include "vmm/base/units.h"
#include "vmm/kvm/system.h"

namespace machine {
namespace {

using namespace base;  // NOLINT: the unit literals
using devices::NetDevice;

constexpr std::size_t kDeviceIdRegister = 8;

launch::Shape shape_with(std::uint32_t network_cards) {
  return {.vcpus = 1, .memory_bytes = 32_MiB, .network_cards = network_cards};
}

/// A VM with nothing in it but the devices of `shape`.
class Hardware {
 public:
  explicit Hardware(const launch::Shape& shape) : shape_(shape) {}

  Result<void> make() {
    UniqueFd kvm(::open("/dev/kvm", O_RDWR | O_CLOEXEC));
    auto system = kvm::System::adopt(std::move(kvm), arch::kRequirements);
    if (!system) return system.error();
    auto vm = system->create_vm();
    if (!vm) return vm.error();
    vm_ = *std::move(vm);
    for (const auto& [region, bytes] :
         {std::pair(&ram_, 32_MiB), std::pair(&window_, launch::kLayersWindowBytes)}) {
      auto mapped = MappedRegion::map(bytes, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
      if (!mapped) return mapped.error();
      *region = *std::move(mapped);
    }
    auto registers = DeviceSet::map_windows(shape_);
    if (!registers) return registers.error();
    registers_ = *std::move(registers);
    auto platform = arch::Platform::create(
        *system, *vm_,
        {.ram = ram_.bytes(), .registers = registers_.bytes(), .window = window_.bytes()},
        shape_.vcpus, {});
    if (!platform) return platform.error();
    platform_ = *std::move(platform);
    calls_.emplace(*loop_);
    auto devices = DeviceSet::create(*platform_, *loop_, *calls_, registers_.bytes(), shape_);
    if (!devices) return devices.error();
    devices_ = *std::move(devices);
    return {};
  }

  DeviceSet& devices() { return *devices_; }

  /// What the guest reads: the device that is in each slot.
  std::vector<virtio::DeviceType> types() const {
    std::vector<virtio::DeviceType> all;
    for (const std::uint32_t slot : devices_->slots()) {
      std::uint32_t id = 0;
      const auto at = slot * virtio::MmioTransport::kWindowSize + kDeviceIdRegister;
      std::memcpy(&id, registers_.bytes().subspan(at).data(), sizeof id);
      all.push_back(static_cast<virtio::DeviceType>(id));
    }
    return all;
  }

 private:
  launch::Shape shape_;
  std::unique_ptr<EventLoop> loop_ = *EventLoop::create();
  MappedRegion ram_;
  MappedRegion window_;
  MappedRegion registers_;
  std::optional<kvm::Vm> vm_;
  std::unique_ptr<arch::Platform> platform_;
  std::optional<LoopCalls> calls_;
  std::unique_ptr<DeviceSet> devices_;
};

#define MAKE_OR_SKIP(hardware)                                          \
  if (::access("/dev/kvm", R_OK | W_OK) != 0) GTEST_SKIP() << "no KVM"; \
  if (const auto made = (hardware).make(); !made) GTEST_FAIL() << made.error().message

TEST(DeviceSetTest, OneNetworkCardIsBetweenTheDisksAndTheRest) {
  using enum virtio::DeviceType;
  Hardware hardware(shape_with(1));
  MAKE_OR_SKIP(hardware);

  EXPECT_EQ(hardware.types(),
            (std::vector{kBlock, kBlock, kNet, kVsock, kConsole, kRng, kBalloon, kPmem, kFs}));
}

TEST(DeviceSetTest, MoreCardsAreInTheirOrderAndTheRestFollows) {
  using enum virtio::DeviceType;
  Hardware hardware(shape_with(3));
  MAKE_OR_SKIP(hardware);

  EXPECT_EQ(hardware.types(), (std::vector{kBlock, kBlock, kNet, kNet, kNet, kVsock, kConsole, kRng,
                                           kBalloon, kPmem, kFs}));
}

TEST(DeviceSetTest, EachCardTakesATapOfItsOwn) {
  Hardware hardware(shape_with(2));
  MAKE_OR_SKIP(hardware);
  const NetDevice::Mac mac = {2, 0x42, 0, 0, 0, 9};

  for (const std::uint32_t card : {0u, 1u}) {
    const auto found = hardware.devices().network_card(card);
    ASSERT_TRUE(found);
    auto pair = make_socket_pair(SOCK_SEQPACKET);
    ASSERT_TRUE(pair);
    EXPECT_TRUE((*found)->attach(std::move(pair->first), mac)) << card;
  }
  EXPECT_NE(*hardware.devices().network_card(0), *hardware.devices().network_card(1));
}

TEST(DeviceSetTest, WhatTheShapeDoesNotHaveIsNotFound) {
  Hardware hardware(shape_with(2));
  MAKE_OR_SKIP(hardware);

  EXPECT_EQ(hardware.devices().network_card(2).error().code, Code::kNotFound);
  EXPECT_TRUE(hardware.devices().disk(0));
  EXPECT_EQ(hardware.devices().disk(1).error().code, Code::kNotFound);
}

TEST(DeviceSetTest, StatesOfAnotherNumberOfCardsAreRefused) {
  Hardware one(shape_with(1));
  Hardware two(shape_with(2));
  MAKE_OR_SKIP(one);
  MAKE_OR_SKIP(two);
  two.devices().pause();

  EXPECT_EQ(one.devices().restore(two.devices().save()).error().code, Code::kDataLoss);
}

TEST(DeviceSetTest, AShapeHasAsManyCardsAsThePlatformHasSlots) {
  constexpr std::uint32_t kMost = arch::Platform::kVirtioSlots - 8;

  EXPECT_TRUE(DeviceSet::check_shape(shape_with(0)));
  EXPECT_TRUE(DeviceSet::check_shape(shape_with(kMost)));
  EXPECT_EQ(DeviceSet::check_shape(shape_with(kMost + 1)).error().code, Code::kInvalidArgument);
}

}  // namespace
}  // namespace machine
