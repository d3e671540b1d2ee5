#include "vmm/arch/x86_64/cpuid.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace x86_64 {
namespace {

std::vector<kvm_cpuid_entry2> host() {
  const auto leaf = [](std::uint32_t function, std::uint32_t eax, std::uint32_t ebx,
                       std::uint32_t ecx, std::uint32_t edx) {
    kvm_cpuid_entry2 entry{};
    entry.function = function;
    entry.eax = eax;
    entry.ebx = ebx;
    entry.ecx = ecx;
    entry.edx = edx;
    return entry;
  };
  return {leaf(0x0, 0x10, 0, 0, 0),           leaf(0x1, 0, 0x07200800, 1u << 5, 0),
          leaf(0xb, 1, 2, 0x100, 7),          leaf(0x40000001, 0xffffffff, 0, 0, 0),
          leaf(0x80000001, 0, 0, 1u << 2, 0), leaf(0x80000008, 0, 0, 0x700f, 0),
          leaf(0x8000000a, 1, 8, 0, 0)};
}

const kvm_cpuid_entry2* find(const std::vector<kvm_cpuid_entry2>& leaves, std::uint32_t function,
                             std::uint32_t index = 0) {
  const auto at = std::find_if(leaves.begin(), leaves.end(), [&](const auto& leaf) {
    return leaf.function == function && leaf.index == index;
  });
  return at == leaves.end() ? nullptr : &*at;
}

TEST(CpuidTest, SetsWhatLinuxNeedsToFindKvmClockAndTheDeadlineTimer) {
  const auto leaves = machine_cpuid(host(), 1);

  EXPECT_NE(find(leaves, 1)->ecx & (1u << 31), 0u);
  EXPECT_NE(find(leaves, 1)->ecx & (1u << 24), 0u);
}

TEST(CpuidTest, HidesNestedVirtualizationAndAsynchronousFaults) {
  const auto leaves = machine_cpuid(host(), 1);

  EXPECT_EQ(find(leaves, 1)->ecx & (1u << 5), 0u);
  EXPECT_EQ(find(leaves, 0x80000001)->ecx & (1u << 2), 0u);
  EXPECT_EQ(find(leaves, 0x8000000a), nullptr);
  EXPECT_EQ(find(leaves, 0x40000001)->eax & (1u << 4), 0u);
}

TEST(CpuidTest, DescribesOneCorePerVcpuInOnePackage) {
  const auto leaves = machine_cpuid(host(), 3);

  EXPECT_EQ(find(leaves, 0xb, 0)->ebx, 1u);
  EXPECT_EQ(find(leaves, 0xb, 1)->eax, 2u);
  EXPECT_EQ(find(leaves, 0xb, 1)->ebx, 3u);
  EXPECT_EQ(find(leaves, 0x80000008)->ecx, 0x2002u);
  EXPECT_EQ((find(leaves, 1)->ebx >> 16) & 0xff, 3u);
}

TEST(CpuidTest, NamesTheProcessorInEveryLeafThatDoes) {
  auto leaves = machine_cpuid(host(), 4);

  set_processor_id(leaves, 2);

  EXPECT_EQ(find(leaves, 1)->ebx >> 24, 2u);
  EXPECT_EQ(find(leaves, 0xb, 0)->edx, 2u);
  EXPECT_EQ(find(leaves, 0xb, 1)->edx, 2u);
}

}  // namespace
}  // namespace x86_64
