#include "api/engine/security/seccomp_filter.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <map>

#include "api/engine/security/capabilities.h"
#include "api/engine/security/seccomp_disguises.h"
#include "vmm/base/unique_fd.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr std::uint32_t kX32Bit = 0x40000000;
constexpr std::uint32_t kNoSuchCall = SECCOMP_RET_ERRNO | ENOSYS;
constexpr std::uint64_t kMaxErrno = 4095;
/// libseccomp takes exponentially long for rules of several conditions on one call (24 s for 16
/// rules of three), and n^4 for those that compare by order (5 s for 256). With these it takes some
/// ten milliseconds.
constexpr std::size_t kMaxJoinedConditions = 12;
constexpr std::size_t kMaxOrderings = 64;

/// Calls that are newer than Debian 12's libseccomp. On x86 a new call has one number everywhere.
struct NewCall {
  std::string_view name;
  std::uint32_t number;
  bool only_64_bit = false;
};
constexpr NewCall kNewCalls[] = {
    {"uretprobe", 335, true},
    {"cachestat", 451},
    {"fchmodat2", 452},
    {"map_shadow_stack", 453},
    {"futex_wake", 454},
    {"futex_wait", 455},
    {"futex_requeue", 456},
    {"statmount", 457},
    {"listmount", 458},
    {"lsm_get_self_attr", 459},
    {"lsm_set_self_attr", 460},
    {"lsm_list_modules", 461},
    {"mseal", 462},
    {"setxattrat", 463},
    {"getxattrat", 464},
    {"listxattrat", 465},
    {"removexattrat", 466},
    {"open_tree_attr", 467},
    {"file_getattr", 468},
    {"file_setattr", 469},
};

/// The kinds of calls that a guest can make.
struct Architecture {
  std::string_view name;
  std::uint32_t token;  // libseccomp's
};
constexpr Architecture kArchitectures[] = {
    {"SCMP_ARCH_X86_64", SCMP_ARCH_X86_64},
    {"SCMP_ARCH_X86", SCMP_ARCH_X86},
    {"SCMP_ARCH_X32", SCMP_ARCH_X32},
};
/// Known, but no call of a guest is ever of these.
constexpr std::string_view kForeignArchitectures[] = {
    "SCMP_ARCH_ARM",       "SCMP_ARCH_AARCH64", "SCMP_ARCH_MIPS",       "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32", "SCMP_ARCH_MIPSEL",  "SCMP_ARCH_MIPSEL64",   "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",       "SCMP_ARCH_PPC64",   "SCMP_ARCH_PPC64LE",    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",     "SCMP_ARCH_RISCV64", "SCMP_ARCH_LOONGARCH64"};

struct NamedOperator {
  std::string_view name;
  scmp_compare op;
};
constexpr NamedOperator kOperators[] = {
    {"SCMP_CMP_NE", SCMP_CMP_NE},
    {"SCMP_CMP_LT", SCMP_CMP_LT},
    {"SCMP_CMP_LE", SCMP_CMP_LE},
    {"SCMP_CMP_EQ", SCMP_CMP_EQ},
    {"SCMP_CMP_GE", SCMP_CMP_GE},
    {"SCMP_CMP_GT", SCMP_CMP_GT},
    {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ},
};

struct NamedFlag {
  std::string_view name;
  std::uint32_t flag;
};
constexpr NamedFlag kFlags[] = {
    {"SECCOMP_FILTER_FLAG_TSYNC", 0},  // there is one thread when the filter is installed
    {"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
    {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
};

Error wrong(std::string message) { return Error{Code::kInternal, std::move(message)}; }

Error library_error(const std::string& what, int error) {
  return wrong("seccomp: " + what + ": " + std::strerror(-error));
}

std::string shown(const std::string& name) { return name.substr(0, 64); }

/// The value that the kernel understands, which is libseccomp's too.
Result<std::uint32_t> action_of(const std::string& name,
                                const std::optional<std::uint64_t>& errno_return) {
  if (errno_return && *errno_return > kMaxErrno)
    return wrong("seccomp: errnoRet " + std::to_string(*errno_return) + " is above " +
                 std::to_string(kMaxErrno) + ", the largest error number");
  const auto value = static_cast<std::uint32_t>(errno_return.value_or(EPERM));
  if (name == "SCMP_ACT_KILL" || name == "SCMP_ACT_KILL_THREAD")
    return std::uint32_t{SCMP_ACT_KILL_THREAD};
  if (name == "SCMP_ACT_KILL_PROCESS") return std::uint32_t{SCMP_ACT_KILL_PROCESS};
  if (name == "SCMP_ACT_TRAP") return std::uint32_t{SCMP_ACT_TRAP};
  if (name == "SCMP_ACT_ERRNO") return std::uint32_t{SCMP_ACT_ERRNO(value)};
  if (name == "SCMP_ACT_TRACE") return std::uint32_t{SCMP_ACT_TRACE(value)};
  if (name == "SCMP_ACT_LOG") return std::uint32_t{SCMP_ACT_LOG};
  if (name == "SCMP_ACT_ALLOW") return std::uint32_t{SCMP_ACT_ALLOW};
  if (name == "SCMP_ACT_NOTIFY")
    return Error{Code::kNotSupported,
                 "the seccomp action SCMP_ACT_NOTIFY is not supported: nobody outside of a "
                 "container's machine can answer for its kernel"};
  return wrong("string " + shown(name) + " is not a valid action for seccomp");
}

/// Whether a call that the filter does not know may reach the kernel anyway.
bool lets_through(std::uint32_t action) {
  const std::uint32_t kind = action & SECCOMP_RET_ACTION_FULL;
  return kind == SECCOMP_RET_ALLOW || kind == SECCOMP_RET_LOG || kind == SECCOMP_RET_TRACE;
}

bool contains(const std::vector<std::string>& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

bool applies(const SeccompRule& rule, const SeccompTarget& target) {
  const auto has = [&](const std::string& capability) {
    return (capability_bit(capability) & target.capabilities) != 0;
  };
  const SeccompCondition& excludes = rule.excludes;
  if (contains(excludes.architectures, "amd64")) return false;
  if (std::any_of(excludes.capabilities.begin(), excludes.capabilities.end(), has)) return false;
  if (excludes.min_kernel && target.kernel >= *excludes.min_kernel) return false;
  const SeccompCondition& includes = rule.includes;
  if (!includes.architectures.empty() && !contains(includes.architectures, "amd64")) return false;
  if (!std::all_of(includes.capabilities.begin(), includes.capabilities.end(), has)) return false;
  return !includes.min_kernel || target.kernel >= *includes.min_kernel;
}

Result<std::vector<std::uint32_t>> architectures_of(const SeccompProfile& profile) {
  std::vector<std::uint32_t> tokens{SCMP_ARCH_X86_64};  // in any case
  for (const std::string& name : profile.architectures) {
    const auto* found = std::find_if(std::begin(kArchitectures), std::end(kArchitectures),
                                     [&](const Architecture& one) { return one.name == name; });
    if (found != std::end(kArchitectures)) {
      if (std::find(tokens.begin(), tokens.end(), found->token) == tokens.end())
        tokens.push_back(found->token);
    } else if (std::find(std::begin(kForeignArchitectures), std::end(kForeignArchitectures),
                         name) == std::end(kForeignArchitectures)) {
      return wrong("string " + shown(name) + " is not a valid arch for seccomp");
    }
  }
  return tokens;
}

Result<std::uint32_t> flags_of(const SeccompProfile& profile) {
  if (!profile.flags) return std::uint32_t{SECCOMP_FILTER_FLAG_SPEC_ALLOW};
  std::uint32_t flags = 0;
  for (const std::string& name : *profile.flags) {
    const auto* found = std::find_if(std::begin(kFlags), std::end(kFlags),
                                     [&](const NamedFlag& one) { return one.name == name; });
    if (found == std::end(kFlags)) return wrong("seccomp flag " + shown(name) + " is not known");
    flags |= found->flag;
  }
  return flags;
}

/// The conditions of a rule, which all must hold.
Result<std::vector<scmp_arg_cmp>> conditions_of(const SeccompRule& rule) {
  std::vector<scmp_arg_cmp> conditions;
  for (const SeccompArgument& argument : rule.arguments) {
    const auto* found = std::find_if(std::begin(kOperators), std::end(kOperators),
                                     [&](const NamedOperator& o) { return o.name == argument.op; });
    if (found == std::end(kOperators))
      return wrong("string " + shown(argument.op) + " is not a valid operator for seccomp");
    if (argument.index > 5)
      return wrong("seccomp: a system call has no argument " + std::to_string(argument.index));
    conditions.push_back(
        {static_cast<unsigned>(argument.index), found->op, argument.value, argument.value_two});
  }
  return conditions;
}

/// Two conditions on one argument make every condition a rule of its own, as in runc.
bool name_an_argument_twice(const std::vector<scmp_arg_cmp>& conditions) {
  std::uint32_t seen = 0;
  for (const scmp_arg_cmp& condition : conditions) {
    if ((seen >> condition.arg & 1u) != 0) return true;
    seen |= 1u << condition.arg;
  }
  return false;
}

class Compiler {
 public:
  Compiler(std::uint32_t default_action, std::vector<std::uint32_t> architectures)
      : default_action_(default_action),
        architectures_(std::move(architectures)),
        judgements_(default_action),
        context_(::seccomp_init(default_action)) {}
  ~Compiler() {
    if (context_ != nullptr) ::seccomp_release(context_);
  }
  Compiler(const Compiler&) = delete;
  Compiler& operator=(const Compiler&) = delete;

  Result<void> begin(std::size_t rules) {
    if (context_ == nullptr) return wrong("seccomp: the library cannot make a filter");
    for (const std::uint32_t token : architectures_)
      if (const int error = ::seccomp_arch_add(context_, token); error < 0 && error != -EEXIST)
        return library_error("add an architecture", error);
    // A binary tree over the numbers. Not for a few rules: libseccomp 2.5 fails without any.
    if (rules > 32)
      if (const int error = ::seccomp_attr_set(context_, SCMP_FLTATR_CTL_OPTIMIZE, 2); error < 0)
        return library_error("optimize", error);
    return {};
  }

  Result<void> add(const SeccompRule& rule) {
    const auto action = action_of(rule.action, rule.errno_return);
    if (!action) return action.error();
    const auto conditions = conditions_of(rule);
    if (!conditions) return conditions.error();
    const std::size_t each = name_an_argument_twice(*conditions) ? conditions->size() : 1;
    for (const std::string& name : rule.names) {
      if (name.empty()) return wrong("empty string is not a valid syscall");
      rules_ += each;
      if (rules_ > kMaxSeccompRules)
        return wrong("the seccomp profile has more than " + std::to_string(kMaxSeccompRules) +
                     " rules");
      RETURN_IF_ERROR(bound_conditions(name, *conditions, each == 1));
      note_known(name);
      judgements_.add(name, *action, *conditions);
      if (*action == default_action_) continue;
      RETURN_IF_ERROR(add_name(name, *action, *conditions, each > 1));
    }
    return {};
  }

  /// What libseccomp makes of the rules, behind what it cannot know.
  Result<std::vector<sock_filter>> program() const {
    auto body = exported();
    if (!body) return body;
    std::vector<sock_filter> all = preamble();
    all.insert(all.end(), body->begin(), body->end());
    if (all.size() > BPF_MAXINSNS)
      return wrong("the seccomp profile makes a filter of " + std::to_string(all.size()) +
                   " instructions; the kernel takes " + std::to_string(BPF_MAXINSNS));
    return all;
  }

 private:
  /// What was counted over the rules for one name.
  struct Count {
    std::size_t joined = 0;     // conditions beyond a rule's first
    std::size_t orderings = 0;  // conditions with <, <=, > or >=
  };

  Result<void> bound_conditions(const std::string& name,
                                const std::vector<scmp_arg_cmp>& conditions, bool together) {
    Count& count = counts_[name];
    if (together && conditions.size() > 1) count.joined += conditions.size() - 1;
    for (const scmp_arg_cmp& condition : conditions)
      if (condition.op != SCMP_CMP_EQ && condition.op != SCMP_CMP_NE &&
          condition.op != SCMP_CMP_MASKED_EQ)
        ++count.orderings;
    if (count.joined > kMaxJoinedConditions || count.orderings > kMaxOrderings)
      return wrong("the seccomp profile has too many conditions for " + shown(name));
    return {};
  }

  static const NewCall* find_new(std::string_view name) {
    const auto* found = std::find_if(std::begin(kNewCalls), std::end(kNewCalls),
                                     [&](const NewCall& call) { return call.name == name; });
    return found == std::end(kNewCalls) ? nullptr : found;
  }

  /// The number by which `call` is made, or nothing.
  static std::optional<std::uint32_t> number_of(const NewCall& call, std::uint32_t token) {
    if (call.only_64_bit && token != SCMP_ARCH_X86_64) return std::nullopt;
    return token == SCMP_ARCH_X32 ? call.number | kX32Bit : call.number;
  }

  /// The profile knows calls up to this one.
  void note_known(const std::string& name) {
    const NewCall* const added = find_new(name);
    for (const std::uint32_t token : architectures_) {
      const int resolved = ::seccomp_syscall_resolve_name_arch(token, name.c_str());
      std::optional<std::uint32_t> number;
      if (resolved >= 0) number = static_cast<std::uint32_t>(resolved);
      if (!number && added != nullptr) number = number_of(*added, token);
      if (number) newest_[token] = std::max(newest_[token], *number);
    }
  }

  Result<void> add_name(const std::string& name, std::uint32_t action,
                        const std::vector<scmp_arg_cmp>& conditions, bool apart) {
    // Negative numbers but this one are calls of other architectures than x86-64.
    const int number = ::seccomp_syscall_resolve_name(name.c_str());
    if (number == __NR_SCMP_ERROR) {
      if (const NewCall* const call = find_new(name)) return add_new(*call, action, conditions);
      return {};
    }
    const std::size_t together = apart ? 1 : conditions.size();
    std::size_t done = 0;
    do {
      const int error = ::seccomp_rule_add_array(
          context_, action, number, static_cast<unsigned>(together), conditions.data() + done);
      if (error < 0 && error != -EEXIST)
        return library_error("add a rule for " + shown(name), error);
      done += together;
    } while (done < conditions.size());
    return {};
  }

  Result<void> add_new(const NewCall& call, std::uint32_t action,
                       const std::vector<scmp_arg_cmp>& conditions) {
    if (!conditions.empty())
      return Error{Code::kNotSupported, "seccomp conditions on the arguments of " +
                                            std::string(call.name) + " are not supported"};
    new_calls_.emplace(call.number, std::pair{&call, action});  // the first rule counts
    return {};
  }

  Result<std::vector<sock_filter>> exported() const {
    const base::UniqueFd file(::memfd_create("seccomp-filter", MFD_CLOEXEC));
    if (!file) return base::errno_error("memfd_create");
    if (const int error = ::seccomp_export_bpf(context_, file.get()); error < 0)
      return library_error("make the program", error);
    const off_t size = ::lseek(file.get(), 0, SEEK_END);
    std::vector<sock_filter> program(static_cast<std::size_t>(size) / sizeof(sock_filter));
    const std::size_t bytes = program.size() * sizeof(sock_filter);
    if (::pread(file.get(), program.data(), bytes, 0) != static_cast<ssize_t>(bytes))
      return base::errno_error("read the program");
    return program;
  }

  /// Decides about calls that libseccomp does not know or judges by another shape than the
  /// kernel's, and that nobody knew when the profile was written; all others go on.
  std::vector<sock_filter> preamble() const {
    const bool x32 = std::find(architectures_.begin(), architectures_.end(), SCMP_ARCH_X32) !=
                     architectures_.end();
    const bool i386 = std::find(architectures_.begin(), architectures_.end(), SCMP_ARCH_X86) !=
                      architectures_.end();
    std::vector<sock_filter> wide =
        after(judge_cut_arguments(judgements_, SCMP_ARCH_X86_64), section(SCMP_ARCH_X86_64));
    const std::vector<sock_filter> extended =
        x32 ? after(judge_cut_arguments(judgements_, SCMP_ARCH_X32), section(SCMP_ARCH_X32))
            : leave();
    // An x32 call looks like one of x86-64 with a large number.
    const std::vector<sock_filter> split = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, kX32Bit, 0, 1),
        BPF_STMT(BPF_JMP | BPF_JA, static_cast<std::uint32_t>(wide.size()))};
    wide = after(split, after(std::move(wide), extended));
    std::vector<sock_filter> narrow =
        i386 ? after(judge_packed_calls(judgements_), section(SCMP_ARCH_X86)) : leave();
    narrow.insert(narrow.begin(), split.front());

    std::vector<sock_filter> all = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_I386, 1, 0),
        BPF_STMT(BPF_JMP | BPF_JA, 0),
        BPF_STMT(BPF_JMP | BPF_JA, static_cast<std::uint32_t>(wide.size())),
    };
    all.insert(all.end(), wide.begin(), wide.end());
    all.insert(all.end(), narrow.begin(), narrow.end());
    for (std::size_t i = 0; i < all.size(); ++i)
      if (all[i].code == (BPF_JMP | BPF_JA) && all[i].k == 0)
        all[i].k = static_cast<std::uint32_t>(all.size() - i - 1);
    return all;
  }

  static std::vector<sock_filter> after(std::vector<sock_filter> first,
                                        const std::vector<sock_filter>& second) {
    first.insert(first.end(), second.begin(), second.end());
    return first;
  }

  /// Goes on to libseccomp's part. How far that is, is filled in at the end.
  static std::vector<sock_filter> leave() { return {BPF_STMT(BPF_JMP | BPF_JA, 0)}; }

  /// Decides about the calls that are new to libseccomp or to the profile; begins with the number
  /// loaded.
  std::vector<sock_filter> section(std::uint32_t token) const {
    std::vector<sock_filter> code;
    std::uint32_t lowest = ~0u;
    for (const auto& [number, decision] : new_calls_) {
      const auto own = number_of(*decision.first, token);
      if (!own) continue;
      lowest = std::min(lowest, *own);
      code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, *own, 0, 1));
      code.push_back(BPF_STMT(BPF_RET | BPF_K, decision.second));
    }
    const auto newest = newest_.find(token);
    if (newest != newest_.end() && newest->second != 0 && !lets_through(default_action_)) {
      lowest = std::min(lowest, newest->second + 1);
      code.push_back(BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, newest->second, 0, 1));
      code.push_back(BPF_STMT(BPF_RET | BPF_K, kNoSuchCall));
    }
    if (code.empty()) return leave();
    // Most calls need one look.
    code.insert(code.begin(), BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, lowest, 0,
                                       static_cast<std::uint8_t>(code.size())));
    code.push_back(leave().front());
    return code;
  }

  const std::uint32_t default_action_;
  const std::vector<std::uint32_t> architectures_;
  SeccompJudgements judgements_;
  const scmp_filter_ctx context_;
  std::size_t rules_ = 0;
  std::map<std::string, Count> counts_;
  std::map<std::uint32_t, std::uint32_t> newest_;  // by architecture
  std::map<std::uint32_t, std::pair<const NewCall*, std::uint32_t>> new_calls_;
};

}  // namespace

Result<SeccompFilter> compile_seccomp_filter(const SeccompProfile& profile,
                                             const SeccompTarget& target) {
  std::vector<const SeccompRule*> rules;
  std::size_t names = 0;
  for (const SeccompRule& rule : profile.rules) {
    if (!applies(rule, target)) continue;
    rules.push_back(&rule);
    names += rule.names.size();
  }
  const auto flags = flags_of(profile);
  if (!flags) return flags.error();
  auto architectures = architectures_of(profile);
  if (!architectures) return std::move(architectures).error();
  const auto default_action = action_of(profile.default_action, profile.default_errno_return);
  if (!default_action) return default_action.error();

  Compiler compiler(*default_action, *std::move(architectures));
  RETURN_IF_ERROR(compiler.begin(names));
  for (const SeccompRule* rule : rules) RETURN_IF_ERROR(compiler.add(*rule));
  const auto program = compiler.program();
  if (!program) return program.error();
  SeccompFilter filter;
  filter.flags = *flags;
  const auto* bytes = reinterpret_cast<const std::byte*>(program->data());
  filter.program.assign(bytes, bytes + program->size() * sizeof(sock_filter));
  return filter;
}

}  // namespace engine
