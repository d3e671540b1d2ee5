#include "guest-init/container/device_policy.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
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

bpf_insn instruction(int code, std::uint8_t destination, std::uint8_t source, std::size_t offset,
                     int immediate) {
  bpf_insn result{};
  result.code = static_cast<std::uint8_t>(code);
  result.dst_reg = destination & 0xf;
  result.src_reg = source & 0xf;
  result.off = static_cast<std::int16_t>(offset);
  result.imm = immediate;
  return result;
}

bpf_insn load(std::uint8_t destination, std::size_t offset) {
  return instruction(BPF_LDX | BPF_W | BPF_MEM, destination, BPF_REG_1, offset, 0);
}
bpf_insn skip_if_not(std::uint8_t value, int immediate, std::size_t instructions) {
  return instruction(BPF_JMP | BPF_JNE | BPF_K, value, 0, instructions, immediate);
}

void finish(std::vector<bpf_insn>& program, int result) {
  program.push_back(instruction(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, result));
  program.push_back(instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
}

long bpf(int command, bpf_attr& attributes) {
  return syscall(SYS_bpf, command, &attributes, sizeof attributes);
}

}  // namespace

std::vector<bpf_insn> device_policy_program() {
  constexpr std::size_t kFinish = 2;  // instructions of finish()
  std::vector<bpf_insn> program = {
      load(kType, offsetof(bpf_cgroup_dev_ctx, access_type)),
      instruction(BPF_ALU64 | BPF_MOV | BPF_X, kAccess, kType, 0, 0),
      instruction(BPF_ALU64 | BPF_RSH | BPF_K, kAccess, 0, 0, 16),
      instruction(BPF_ALU64 | BPF_AND | BPF_K, kType, 0, 0, 0xffff),
      load(kMajor, offsetof(bpf_cgroup_dev_ctx, major)),
      load(kMinor, offsetof(bpf_cgroup_dev_ctx, minor)),
  };
  program.push_back(skip_if_not(kAccess, BPF_DEVCG_ACC_MKNOD, kFinish));
  finish(program, 1);
  program.push_back(instruction(BPF_JMP | BPF_JEQ | BPF_K, kType, 0, kFinish, BPF_DEVCG_DEV_CHAR));
  finish(program, 0);
  for (const CharacterDevice& device : kAllowed) {
    program.push_back(skip_if_not(kMajor, device.major, kFinish + (device.minor ? 1 : 0)));
    if (device.minor) program.push_back(skip_if_not(kMinor, *device.minor, kFinish));
    finish(program, 1);
  }
  finish(program, 0);
  return program;
}

base::Result<DevicePolicy> DevicePolicy::load() {
  const std::vector<bpf_insn> program = device_policy_program();
  bpf_attr attributes;
  std::memset(&attributes, 0, sizeof attributes);
  attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  attributes.insns = reinterpret_cast<std::uintptr_t>(program.data());
  attributes.insn_cnt = static_cast<std::uint32_t>(program.size());
  attributes.license = reinterpret_cast<std::uintptr_t>("");
  DevicePolicy policy;
  policy.program_.reset(static_cast<int>(bpf(BPF_PROG_LOAD, attributes)));
  if (!policy.program_) return base::errno_error("load the device policy");
  return policy;
}

base::Result<void> DevicePolicy::attach(int cgroup) const {
  bpf_attr attributes;
  std::memset(&attributes, 0, sizeof attributes);
  attributes.target_fd = static_cast<std::uint32_t>(cgroup);
  attributes.attach_bpf_fd = static_cast<std::uint32_t>(program_.get());
  attributes.attach_type = BPF_CGROUP_DEVICE;
  // A container that manages cgroups of its own may attach further ones below.
  attributes.attach_flags = BPF_F_ALLOW_MULTI;
  if (bpf(BPF_PROG_ATTACH, attributes) != 0) return base::errno_error("attach the device policy");
  return {};
}

}  // namespace guest_init
