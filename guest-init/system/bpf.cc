#include "guest-init/system/bpf.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

namespace guest_init {
namespace {

long bpf(int command, bpf_attr& attributes) {
  return syscall(SYS_bpf, command, &attributes, sizeof attributes);
}

}  // namespace

bpf_insn bpf_instruction(int code, std::uint8_t destination, std::uint8_t source,
                         std::size_t offset, int immediate) {
  bpf_insn result{};
  result.code = static_cast<std::uint8_t>(code);
  result.dst_reg = destination & 0xf;
  result.src_reg = source & 0xf;
  result.off = static_cast<std::int16_t>(offset);
  result.imm = immediate;
  return result;
}

bpf_insn bpf_load(std::uint8_t destination, std::size_t offset) {
  return bpf_instruction(BPF_LDX | BPF_W | BPF_MEM, destination, BPF_REG_1, offset, 0);
}

bpf_insn bpf_store(std::uint8_t source, std::size_t offset) {
  return bpf_instruction(BPF_STX | BPF_W | BPF_MEM, BPF_REG_1, source, offset, 0);
}

bpf_insn bpf_set(std::uint8_t destination, int value) {
  return bpf_instruction(BPF_ALU64 | BPF_MOV | BPF_K, destination, 0, 0, value);
}

bpf_insn bpf_skip_if_not(std::uint8_t value, int immediate, std::size_t instructions) {
  return bpf_instruction(BPF_JMP | BPF_JNE | BPF_K, value, 0, instructions, immediate);
}

void bpf_finish(std::vector<bpf_insn>& program, int result) {
  program.push_back(bpf_set(BPF_REG_0, result));
  program.push_back(bpf_instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
}

base::Result<BpfProgram> BpfProgram::load(bpf_prog_type type, bpf_attach_type attach_type,
                                          const std::vector<bpf_insn>& instructions,
                                          std::string name) {
  bpf_attr attributes;
  std::memset(&attributes, 0, sizeof attributes);
  attributes.prog_type = type;
  attributes.expected_attach_type = attach_type;
  attributes.insns = reinterpret_cast<std::uintptr_t>(instructions.data());
  attributes.insn_cnt = static_cast<std::uint32_t>(instructions.size());
  attributes.license = reinterpret_cast<std::uintptr_t>("");
  BpfProgram program;
  program.attach_type_ = attach_type;
  program.name_ = std::move(name);
  program.fd_.reset(static_cast<int>(bpf(BPF_PROG_LOAD, attributes)));
  if (!program.fd_) return base::errno_error("load " + program.name_);
  return program;
}

base::Result<void> BpfProgram::attach(int cgroup) const {
  bpf_attr attributes;
  std::memset(&attributes, 0, sizeof attributes);
  attributes.target_fd = static_cast<std::uint32_t>(cgroup);
  attributes.attach_bpf_fd = static_cast<std::uint32_t>(fd_.get());
  attributes.attach_type = attach_type_;
  // A container that manages cgroups of its own may attach further ones below.
  attributes.attach_flags = BPF_F_ALLOW_MULTI;
  if (bpf(BPF_PROG_ATTACH, attributes) != 0) return base::errno_error("attach " + name_);
  return {};
}

}  // namespace guest_init
