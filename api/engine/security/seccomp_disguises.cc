#include "api/engine/security/seccomp_disguises.h"

#include <linux/seccomp.h>
#include <seccomp.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <iterator>
#include <optional>
#include <span>

namespace engine {

namespace {

/// A call that a number of socketcall or ipc stands for. `same`: the call that it is a form of, if
/// that has a name of its own.
struct Packed {
  std::uint32_t number;
  std::string_view name;
  std::string_view same = {};
};
constexpr Packed kSocketCalls[] = {
    {1, "socket"},
    {2, "bind"},
    {3, "connect"},
    {4, "listen"},
    {5, "accept", "accept4"},
    {6, "getsockname"},
    {7, "getpeername"},
    {8, "socketpair"},
    {9, "send", "sendto"},
    {10, "recv", "recvfrom"},
    {11, "sendto"},
    {12, "recvfrom"},
    {13, "shutdown"},
    {14, "setsockopt"},
    {15, "getsockopt"},
    {16, "sendmsg"},
    {17, "recvmsg"},
    {18, "accept4"},
    {19, "recvmmsg"},
    {20, "sendmmsg"},
};
constexpr Packed kIpcCalls[] = {
    {1, "semop", "semtimedop"},
    {2, "semget"},
    {3, "semctl"},
    {4, "semtimedop"},
    {11, "msgsnd"},
    {12, "msgrcv"},
    {13, "msgget"},
    {14, "msgctl"},
    {21, "shmat"},
    {22, "shmdt"},
    {23, "shmget"},
    {24, "shmctl"},
};
constexpr std::uint32_t kAllBits = ~0u;
constexpr std::uint32_t kIpcBits = 0xffff;  // above is a version, which changes nothing

/// i386's calls with all their arguments in memory, and of the same name as others' without.
constexpr std::string_view kInMemory[] = {"mmap", "select"};

/// Arguments that are `int` or `unsigned int` in the kernel, of calls that profiles have conditions
/// on.
struct Cut {
  std::string_view name;
  std::array<bool, 6> arguments;
};
constexpr Cut kCut[] = {
    {"socket", {true, true, true}},
    {"socketpair", {true, true, true}},
    {"setsockopt", {true, true, true, false, true}},
    {"getsockopt", {true, true, true}},
    {"ioctl", {true, true}},
    {"fcntl", {true, true}},
    {"prctl", {true}},
    {"personality", {true}},
    {"keyctl", {true}},
    {"bpf", {true, false, true}},
    {"open", {false, true, true}},
    {"openat", {true, false, true, true}},
    {"kill", {true, true}},
    {"tgkill", {true, true, true}},
    {"tkill", {true, true}},
    {"setns", {true, true}},
    {"umount2", {false, true}},
    {"quotactl", {true, false, true}},
};
/// Values to compare an argument with one by one; with more conditions, any high half is refused.
constexpr std::size_t kMostValues = 16;

sock_filter load(std::size_t offset) {
  return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset));
}
sock_filter load_number() { return load(offsetof(seccomp_data, nr)); }
sock_filter answer(std::uint32_t action) { return BPF_STMT(BPF_RET | BPF_K, action); }
/// Skips `code` unless the loaded value is `value`.
sock_filter unless_equal_skip(std::uint32_t value, const std::vector<sock_filter>& code) {
  return BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, static_cast<std::uint8_t>(code.size()));
}

void append(std::vector<sock_filter>& code, const std::vector<sock_filter>& more) {
  code.insert(code.end(), more.begin(), more.end());
}

std::optional<std::uint32_t> number_of(std::uint32_t token, std::string_view name) {
  const int number = ::seccomp_syscall_resolve_name_arch(token, std::string(name).c_str());
  if (number < 0) return std::nullopt;
  return static_cast<std::uint32_t>(number);
}

/// Position in the kernel's order of actions; the lowest counts.
std::int32_t rank(std::uint32_t action) {
  return static_cast<std::int32_t>(action & SECCOMP_RET_ACTION_FULL);
}

std::uint32_t answer_for(const SeccompJudgements& judgements, const Packed& packed,
                         std::string_view multiplexer) {
  std::uint32_t own = judgements.strictest(packed.name);
  // A profile that knows only the general form means the special one, too.
  if (!packed.same.empty() && !judgements.names(packed.name))
    own = judgements.strictest(packed.same);
  return judgements.names(multiplexer) ? stricter(own, judgements.strictest(multiplexer)) : own;
}

/// The code for `multiplexer`, whose first argument says which of `calls` is meant.
std::vector<sock_filter> judge_multiplexer(const SeccompJudgements& judgements,
                                           std::string_view multiplexer,
                                           std::span<const Packed> calls, std::uint32_t bits) {
  const auto number = number_of(SCMP_ARCH_X86, multiplexer);
  if (!number) return {};
  std::vector<sock_filter> decisions;
  for (const Packed& call : calls) {
    const std::uint32_t action = answer_for(judgements, call, multiplexer);
    // libseccomp's part allows it as well, if the profile has a rule for all of the multiplexer.
    if (judgements.settles(multiplexer) && action == SECCOMP_RET_ALLOW) continue;
    decisions.push_back(unless_equal_skip(call.number, {answer(action)}));
    decisions.push_back(answer(action));
  }
  if (decisions.empty()) return {};
  std::vector<sock_filter> code = {load(offsetof(seccomp_data, args)),
                                   BPF_STMT(BPF_ALU | BPF_AND | BPF_K, bits)};
  append(code, decisions);
  code.push_back(load_number());
  code.insert(code.begin(), unless_equal_skip(*number, code));
  return code;
}

/// The code for one cut argument: with a high half that is not zero, `refusal` if the low half
/// alone may compare otherwise than both. A mask leaves the high half out.
std::vector<sock_filter> judge_high_half(const std::vector<scmp_arg_cmp>& conditions,
                                         std::uint32_t argument, sock_filter refusal) {
  std::set<std::uint32_t> values;
  bool any = false;
  for (const scmp_arg_cmp& condition : conditions) {
    if (condition.arg != argument || condition.op == SCMP_CMP_MASKED_EQ) continue;
    if (condition.op == SCMP_CMP_EQ || condition.op == SCMP_CMP_NE)
      values.insert(static_cast<std::uint32_t>(condition.datum_a));
    else
      any = true;
  }
  if (values.empty() && !any) return {};
  std::vector<sock_filter> refusals;
  const std::size_t low_half = offsetof(seccomp_data, args) + 8 * std::size_t{argument};
  if (any || values.size() > kMostValues) {
    refusals = {refusal};
  } else {
    refusals = {load(low_half)};
    for (const std::uint32_t value : values) {
      refusals.push_back(unless_equal_skip(value, {refusal}));
      refusals.push_back(refusal);
    }
  }
  std::vector<sock_filter> code = {load(low_half + 4)};
  const auto size = static_cast<std::uint8_t>(refusals.size());
  code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, size, 0));
  append(code, refusals);
  return code;
}

}  // namespace

std::uint32_t stricter(std::uint32_t a, std::uint32_t b) { return rank(b) < rank(a) ? b : a; }

void SeccompJudgements::add(const std::string& name, std::uint32_t action,
                            const std::vector<scmp_arg_cmp>& conditions) {
  Judgement& judgement = by_name_[name];
  if (action == default_action_) return;  // as if there were no such rule
  (conditions.empty() ? judgement.always : judgement.sometimes).insert(action);
  judgement.conditions.insert(judgement.conditions.end(), conditions.begin(), conditions.end());
}

bool SeccompJudgements::settles(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found != by_name_.end() && !found->second.always.empty();
}

std::uint32_t SeccompJudgements::strictest(std::string_view name) const {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return default_action_;
  const auto& actions = settles(name) ? found->second.always : found->second.sometimes;
  std::uint32_t strictest = settles(name) ? *actions.begin() : default_action_;
  for (const std::uint32_t action : actions) strictest = stricter(strictest, action);
  return strictest;
}

std::vector<scmp_arg_cmp> SeccompJudgements::conditions(std::string_view name) const {
  const auto found = by_name_.find(name);
  if (found == by_name_.end() || settles(name)) return {};
  return found->second.conditions;
}

std::vector<sock_filter> judge_packed_calls(const SeccompJudgements& judgements) {
  std::vector<sock_filter> code =
      judge_multiplexer(judgements, "socketcall", kSocketCalls, kAllBits);
  append(code, judge_multiplexer(judgements, "ipc", kIpcCalls, kIpcBits));
  for (const std::string_view name : kInMemory) {
    const auto number = number_of(SCMP_ARCH_X86, name);
    if (!number || judgements.conditions(name).empty()) continue;
    const std::vector<sock_filter> decision = {answer(judgements.strictest(name))};
    code.push_back(unless_equal_skip(*number, decision));
    append(code, decision);
  }
  return code;
}

std::vector<sock_filter> judge_cut_arguments(const SeccompJudgements& judgements,
                                             std::uint32_t token) {
  std::vector<sock_filter> code;
  for (const Cut& cut : kCut) {
    const auto number = number_of(token, cut.name);
    const auto conditions = judgements.conditions(cut.name);
    if (!number || conditions.empty()) continue;
    std::vector<sock_filter> decision;
    for (std::uint32_t argument = 0; argument < cut.arguments.size(); ++argument)
      if (cut.arguments[argument])
        append(decision,
               judge_high_half(conditions, argument, answer(judgements.strictest(cut.name))));
    if (decision.empty()) continue;
    decision.push_back(load_number());
    code.push_back(unless_equal_skip(*number, decision));
    append(code, decision);
  }
  return code;
}

}  // namespace engine
