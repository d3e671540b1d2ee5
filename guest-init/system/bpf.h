// BPF: programs of a few instructions that the kernel runs for a cgroup's processes (bpf(2)).
#pragma once

#include <linux/bpf.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace guest_init {

bpf_insn bpf_instruction(int code, std::uint8_t destination, std::uint8_t source,
                         std::size_t offset, int immediate);
/// destination = the 32 bits at `offset` of the context that the program is given in register 1.
bpf_insn bpf_load(std::uint8_t destination, std::size_t offset);
/// The reverse of bpf_load().
bpf_insn bpf_store(std::uint8_t source, std::size_t offset);
bpf_insn bpf_set(std::uint8_t destination, int value);
/// Leaves out the next instructions unless the register has this value.
bpf_insn bpf_skip_if_not(std::uint8_t value, int immediate, std::size_t instructions);
/// Two instructions: return `result`.
void bpf_finish(std::vector<bpf_insn>& program, int result);

/// A program in the kernel, which checks it. Destroying it does not detach it.
class BpfProgram {
 public:
  BpfProgram() = default;
  /// `attach_type`: where it is going to be attached. `name`: what errors call it.
  static base::Result<BpfProgram> load(bpf_prog_type type, bpf_attach_type attach_type,
                                       const std::vector<bpf_insn>& instructions, std::string name);

  /// For the processes of `cgroup` and of those below it, which may have further ones.
  base::Result<void> attach(int cgroup) const;

 private:
  base::UniqueFd fd_;
  bpf_attach_type attach_type_{};
  std::string name_;
};

}  // namespace guest_init
