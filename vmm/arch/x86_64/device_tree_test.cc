#include "vmm/arch/x86_64/device_tree.h"

#include <gtest/gtest.h>
#include <libfdt.h>

#include <set>
#include <string>

#include "vmm/arch/x86_64/layout.h"

namespace x86_64 {
namespace {

std::vector<std::uint32_t> cells(const std::vector<std::byte>& tree, const char* path,
                                 const char* property) {
  int length = 0;
  const int node = fdt_path_offset(tree.data(), path);
  const void* value = node < 0 ? nullptr : fdt_getprop(tree.data(), node, property, &length);
  std::vector<std::uint32_t> result;
  for (int i = 0; value != nullptr && i + 4 <= length; i += 4)
    result.push_back(
        fdt32_ld(reinterpret_cast<const fdt32_t*>(static_cast<const char*>(value) + i)));
  return result;
}

bool is_compatible(const std::vector<std::byte>& tree, const char* path, const char* with) {
  const int node = fdt_path_offset(tree.data(), path);
  return node >= 0 && fdt_node_check_compatible(tree.data(), node, with) == 0;
}

std::vector<std::byte> make(Hardware hardware) {
  auto tree = make_device_tree(hardware);
  EXPECT_TRUE(tree);
  return tree ? *std::move(tree) : std::vector<std::byte>();
}

TEST(DeviceTreeTest, IsASoundBlob) {
  const auto tree = make({.vcpus = 2, .virtio_slots = {0, 1}, .generation_address = 0x1000});

  ASSERT_EQ(fdt_check_header(tree.data()), 0);
  EXPECT_EQ(fdt_totalsize(tree.data()), tree.size());
}

TEST(DeviceTreeTest, NamesEachProcessorByItsApicId) {
  const auto tree = make({.vcpus = 3, .virtio_slots = {}, .generation_address = 0x1000});

  EXPECT_EQ(cells(tree, "/cpus/cpu@0", "reg"), (std::vector<std::uint32_t>{0}));
  EXPECT_EQ(cells(tree, "/cpus/cpu@2", "reg"), (std::vector<std::uint32_t>{2}));
  EXPECT_TRUE(cells(tree, "/cpus/cpu@3", "reg").empty());
}

TEST(DeviceTreeTest, GivesEachVirtioSlotAPinOfItsOwn) {
  std::set<std::uint32_t> pins = {kGenerationPin};
  for (std::uint32_t slot = 0; slot < kVirtioSlots; ++slot) pins.insert(virtio_pin(slot));

  EXPECT_EQ(pins.size(), 1 + kVirtioSlots);
  EXPECT_LT(*pins.rbegin(), kIoapicPins);
}

TEST(DeviceTreeTest, PutsVirtioSlotsOnEdgePinsOfTheIoapic) {
  const auto tree = make({.vcpus = 1, .virtio_slots = {2}, .generation_address = 0x1000});

  EXPECT_TRUE(is_compatible(tree, "/soc/virtio@d0002000", "virtio,mmio"));
  EXPECT_EQ(cells(tree, "/soc/virtio@d0002000", "reg"),
            (std::vector<std::uint32_t>{0xd0002000, 0x200}));
  EXPECT_EQ(cells(tree, "/soc/virtio@d0002000", "interrupts"), (std::vector<std::uint32_t>{18, 3}));
  EXPECT_EQ(cells(tree, "/", "interrupt-parent"),
            cells(tree, "/soc/interrupt-controller@fec00000", "phandle"));
}

TEST(DeviceTreeTest, DescribesTheInterruptControllersAsThe6_12KernelReadsThem) {
  const auto tree = make({.vcpus = 1, .virtio_slots = {}, .generation_address = 0x1000});

  EXPECT_TRUE(is_compatible(tree, "/soc/interrupt-controller@fee00000", "intel,ce4100-lapic"));
  EXPECT_TRUE(is_compatible(tree, "/soc/interrupt-controller@fec00000", "intel,ce4100-ioapic"));
  EXPECT_TRUE(is_compatible(tree, "/soc", "simple-bus"));
}

TEST(DeviceTreeTest, SaysWhereTheGenerationIdIs) {
  const auto tree = make({.vcpus = 1, .virtio_slots = {}, .generation_address = 0x1ffff000});

  EXPECT_TRUE(is_compatible(tree, "/soc/vmgenid@1ffff000", "microsoft,vmgenid"));
  EXPECT_EQ(cells(tree, "/soc/vmgenid@1ffff000", "interrupts"), (std::vector<std::uint32_t>{5, 3}));
}

TEST(DeviceTreeTest, HasRoomForTheLargestMachine) {
  const auto tree = make({.vcpus = kMaxVcpus,
                          .virtio_slots = {0, 1, 2, 3, 4, 5, 6, 7},
                          .generation_address = 0xbffff000});

  EXPECT_LT(tree.size(), kLowUsableEnd - kSetupDataAddress);
}

}  // namespace
}  // namespace x86_64
