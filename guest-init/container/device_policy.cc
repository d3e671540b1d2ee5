#include "guest-init/container/device_policy.h"

#include <cstddef>
#include <optional>

namespace guest_init {
namespace {

struct CharacterDevice {
  int major;
  std::optional<int> minor;  // nothing: all of this major
};
constexpr CharacterDevice kAllowed[] = {
    {1, 3},               // null
    {1, 5},               // zero
    {1, 7},               // full
    {1, 8},               // random
    {1, 9},               // urandom
    {5, 0},               // tty
    {5, 1},               // console
    {5, 2},               // ptmx
    {136, std::nullopt},  // pts
};

constexpr std::uint8_t kAccess = BPF_REG_2;
constexpr std::uint8_t kType = BPF_REG_3;
constexpr std::uint8_t kMajor = BPF_REG_4;
constexpr std::uint8_t kMinor = BPF_REG_5;

}  // namespace

std::vector<bpf_insn> device_policy_program() {
  constexpr std::size_t kFinish = 2;  // instructions of bpf_finish()
  std::vector<bpf_insn> program = {
      bpf_load(kType, offsetof(bpf_cgroup_dev_ctx, access_type)),
      bpf_instruction(BPF_ALU64 | BPF_MOV | BPF_X, kAccess, kType, 0, 0),
      bpf_instruction(BPF_ALU64 | BPF_RSH | BPF_K, kAccess, 0, 0, 16),
      bpf_instruction(BPF_ALU64 | BPF_AND | BPF_K, kType, 0, 0, 0xffff),
      bpf_load(kMajor, offsetof(bpf_cgroup_dev_ctx, major)),
      bpf_load(kMinor, offsetof(bpf_cgroup_dev_ctx, minor)),
  };
  program.push_back(bpf_skip_if_not(kAccess, BPF_DEVCG_ACC_MKNOD, kFinish));
  bpf_finish(program, 1);
  program.push_back(
      bpf_instruction(BPF_JMP | BPF_JEQ | BPF_K, kType, 0, kFinish, BPF_DEVCG_DEV_CHAR));
  bpf_finish(program, 0);
  for (const CharacterDevice& device : kAllowed) {
    program.push_back(bpf_skip_if_not(kMajor, device.major, kFinish + (device.minor ? 1 : 0)));
    if (device.minor) program.push_back(bpf_skip_if_not(kMinor, *device.minor, kFinish));
    bpf_finish(program, 1);
  }
  bpf_finish(program, 0);
  return program;
}

base::Result<DevicePolicy> DevicePolicy::load() {
  auto program = BpfProgram::load(BPF_PROG_TYPE_CGROUP_DEVICE, BPF_CGROUP_DEVICE,
                                  device_policy_program(), "the device policy");
  if (!program) return std::move(program).error();
  DevicePolicy policy;
  policy.program_ = *std::move(program);
  return policy;
}

base::Result<void> DevicePolicy::attach(int cgroup) const { return program_.attach(cgroup); }

}  // namespace guest_init
