#include "guest-init/container/device_policy.h"

#include <gtest/gtest.h>

namespace guest_init {
namespace {

/// Runs the few kinds of instructions the policy consists of.
std::uint64_t run(const std::vector<bpf_insn>& program, const bpf_cgroup_dev_ctx& context) {
  const std::uint32_t words[] = {context.access_type, context.major, context.minor};
  std::uint64_t registers[11] = {};
  for (std::size_t at = 0; at < program.size(); ++at) {
    const bpf_insn& i = program[at];
    std::uint64_t& value = registers[i.dst_reg];
    const auto immediate = static_cast<std::uint64_t>(i.imm);
    const auto skip = static_cast<std::size_t>(i.off);
    switch (i.code) {
      case BPF_LDX | BPF_W | BPF_MEM:
        value = words[skip / 4];
        break;
      case BPF_ALU64 | BPF_MOV | BPF_X:
        value = registers[i.src_reg];
        break;
      case BPF_ALU64 | BPF_MOV | BPF_K:
        value = immediate;
        break;
      case BPF_ALU64 | BPF_RSH | BPF_K:
        value >>= immediate;
        break;
      case BPF_ALU64 | BPF_AND | BPF_K:
        value &= immediate;
        break;
      case BPF_JMP | BPF_JNE | BPF_K:
        at += value != immediate ? skip : 0;
        break;
      case BPF_JMP | BPF_JEQ | BPF_K:
        at += value == immediate ? skip : 0;
        break;
      case BPF_JMP | BPF_EXIT:
        return registers[0];
      default:
        ADD_FAILURE() << "instruction " << int{i.code};
        return 99;
    }
  }
  ADD_FAILURE() << "runs over its end";
  return 99;
}

bool allows(std::uint32_t type, std::uint32_t access, std::uint32_t major, std::uint32_t minor) {
  const bpf_cgroup_dev_ctx context{access << 16 | type, major, minor};
  return run(device_policy_program(), context) == 1;
}

constexpr std::uint32_t kReadWrite = BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE;

TEST(DevicePolicy, AllowsDockersDevices) {
  for (const std::uint32_t minor : {3u, 5u, 7u, 8u, 9u})
    EXPECT_TRUE(allows(BPF_DEVCG_DEV_CHAR, kReadWrite, 1, minor)) << minor;
  for (const std::uint32_t minor : {0u, 1u, 2u})
    EXPECT_TRUE(allows(BPF_DEVCG_DEV_CHAR, kReadWrite, 5, minor)) << minor;
  EXPECT_TRUE(allows(BPF_DEVCG_DEV_CHAR, kReadWrite, 136, 4711));
}

TEST(DevicePolicy, RefusesAllOthers) {
  EXPECT_FALSE(allows(BPF_DEVCG_DEV_CHAR, BPF_DEVCG_ACC_READ, 1, 1));  // mem
  EXPECT_FALSE(allows(BPF_DEVCG_DEV_CHAR, kReadWrite, 5, 3));
  EXPECT_FALSE(allows(BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_ACC_READ, 254, 0));
  EXPECT_FALSE(allows(BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_ACC_READ, 1, 3));
}

TEST(DevicePolicy, AllowsMakingNodesButNotTogetherWithUsingThem) {
  EXPECT_TRUE(allows(BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_ACC_MKNOD, 254, 0));
  EXPECT_FALSE(allows(BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ, 254, 0));
}

}  // namespace
}  // namespace guest_init
