// Disguises: calls that a filter sees in another shape than the kernel, and how each is judged.
//
// Two kinds on x86. A *packed* call of i386 has its arguments in memory: socketcall and ipc, which
// stand for other calls by number, and the old mmap and select. A *cut* argument is one of which
// the kernel takes 32 bits, while the filter is shown 64: it may compare as another value than the
// kernel sees. In both, where a rule depends on such arguments, the call gets the strictest answer
// that the rules have for any. Threads: any. Trust: the rules are the client's; the code that comes
// out is bounded by the tables. Spec: seccomp(2); Linux's net/compat.c, ipc/syscall.c,
// arch/x86/entry/syscalls.
#pragma once

#include <linux/filter.h>
#include <seccomp.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace engine {

/// The stricter of two actions, as the kernel orders them: kill, trap, error, trace, log, allow.
std::uint32_t stricter(std::uint32_t a, std::uint32_t b);

/// What the rules of a profile say about calls by name, without looking at arguments.
class SeccompJudgements {
 public:
  explicit SeccompJudgements(std::uint32_t default_action) : default_action_(default_action) {}

  /// Without `conditions` the rule holds for every call.
  void add(const std::string& name, std::uint32_t action,
           const std::vector<scmp_arg_cmp>& conditions);

  bool names(std::string_view name) const { return by_name_.contains(name); }
  /// Whether a rule without conditions decides about the call.
  bool settles(std::string_view name) const;
  /// The strictest answer that a call of this name may get.
  std::uint32_t strictest(std::string_view name) const;
  /// What the answer depends on; nothing if it is settled.
  std::vector<scmp_arg_cmp> conditions(std::string_view name) const;

 private:
  struct Judgement {
    std::set<std::uint32_t> always;  // actions of rules without conditions
    std::set<std::uint32_t> sometimes;
    std::vector<scmp_arg_cmp> conditions;
  };
  const std::uint32_t default_action_;
  std::map<std::string, Judgement, std::less<>> by_name_;
};

/// Makes code that decides about i386's packed calls. Other calls go on behind its end. The call's
/// number is loaded where it begins, and where it ends.
std::vector<sock_filter> judge_packed_calls(const SeccompJudgements& judgements);

/// Makes code that decides about cut arguments, in the same way. `token`: libseccomp's, of x86-64
/// or x32.
std::vector<sock_filter> judge_cut_arguments(const SeccompJudgements& judgements,
                                             std::uint32_t token);

}  // namespace engine
