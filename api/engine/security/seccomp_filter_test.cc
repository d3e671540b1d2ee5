#include "api/engine/security/seccomp_filter.h"

#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "api/engine/security/capabilities.h"

namespace engine {
namespace {

using base::Code;

constexpr std::uint32_t kAllow = SECCOMP_RET_ALLOW;
constexpr std::uint32_t kX32 = 0x40000000;
constexpr std::uint32_t kArchitectures[] = {SCMP_ARCH_X86, SCMP_ARCH_X86_64, SCMP_ARCH_X32};

constexpr std::uint32_t errno_action(std::uint32_t number) { return SECCOMP_RET_ERRNO | number; }

/// Runs a filter as the kernel would. An instruction that filters have no use for is a failure.
std::uint32_t evaluate(const SeccompFilter& filter, std::uint32_t architecture, std::uint32_t call,
                       std::array<std::uint64_t, 6> arguments = {}) {
  seccomp_data data{};
  data.nr = static_cast<int>(call);
  data.arch = architecture;
  std::copy(arguments.begin(), arguments.end(), std::begin(data.args));
  std::vector<sock_filter> code(filter.program.size() / sizeof(sock_filter));
  std::memcpy(code.data(), filter.program.data(), filter.program.size());
  std::uint32_t a = 0;
  for (std::size_t at = 0; at < code.size(); ++at) {
    const sock_filter& i = code[at];
    const auto jump = [&](bool holds) { at += holds ? i.jt : i.jf; };
    switch (i.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        std::memcpy(&a, reinterpret_cast<const char*>(&data) + i.k, sizeof a);
        break;
      case BPF_ALU | BPF_AND | BPF_K:
        a &= i.k;
        break;
      case BPF_JMP | BPF_JA:
        at += i.k;
        break;
      case BPF_JMP | BPF_JEQ | BPF_K:
        jump(a == i.k);
        break;
      case BPF_JMP | BPF_JGT | BPF_K:
        jump(a > i.k);
        break;
      case BPF_JMP | BPF_JGE | BPF_K:
        jump(a >= i.k);
        break;
      case BPF_JMP | BPF_JSET | BPF_K:
        jump((a & i.k) != 0);
        break;
      case BPF_RET | BPF_K:
        return i.k;
      default:
        ADD_FAILURE() << "instruction " << at << " is " << i.code;
        return 0;
    }
  }
  ADD_FAILURE() << "the program does not end";
  return 0;
}

/// The answer to an x86-64 call.
std::uint32_t answer(const SeccompFilter& filter, long call,
                     std::array<std::uint64_t, 6> arguments = {}) {
  return evaluate(filter, AUDIT_ARCH_X86_64, static_cast<std::uint32_t>(call), arguments);
}

std::uint32_t number(std::uint32_t token, const char* name) {
  return static_cast<std::uint32_t>(seccomp_syscall_resolve_name_arch(token, name));
}

SeccompFilter default_filter(std::uint64_t capabilities = kDefaultCapabilities,
                             KernelVersion kernel = {6, 12}) {
  const auto filter = compile_seccomp_filter(default_seccomp_profile(),
                                             {.capabilities = capabilities, .kernel = kernel});
  EXPECT_TRUE(filter) << filter.error().message;
  return filter ? *filter : SeccompFilter{};
}

base::Result<SeccompFilter> compile(const std::string& text) {
  const auto profile = parse_seccomp_profile(text);
  if (!profile) return profile.error();
  return compile_seccomp_filter(**profile,
                                {.capabilities = kDefaultCapabilities, .kernel = {6, 12}});
}

/// The filter of a profile with one rule.
SeccompFilter filter_of(const std::string& default_action, const std::string& rule) {
  const auto filter =
      compile(R"({"defaultAction":")" + default_action + R"(","syscalls":[)" + rule + "]}");
  EXPECT_TRUE(filter) << filter.error().message;
  return filter ? *filter : SeccompFilter{};
}

std::string error_of(const std::string& text) {
  const auto filter = compile(text);
  return filter ? "" : filter.error().message;
}

TEST(DefaultSeccompProfile, NamesOnlyCallsThatExist) {
  for (const SeccompRule& rule : default_seccomp_profile().rules)
    for (const std::string& name : rule.names) {
      const SeccompFilter filter =
          filter_of("SCMP_ACT_KILL_PROCESS",
                    R"({"names":["read",")" + name + R"("],"action":"SCMP_ACT_TRAP"})");
      bool known = false;
      for (std::uint32_t call = 1; call < 470; ++call)
        known = known || answer(filter, call) == SECCOMP_RET_TRAP;
      for (const std::uint32_t token : kArchitectures)
        known = known || seccomp_syscall_resolve_name_arch(token, name.c_str()) != __NR_SCMP_ERROR;
      // Docker names it, but no kernel has it.
      EXPECT_TRUE(known || name == "getsid") << name;
    }
}

TEST(DefaultSeccompProfile, AllowsWhatProgramsNeed) {
  const SeccompFilter filter = default_filter();

  for (const long call : {SYS_read, SYS_execve, SYS_openat, SYS_mmap, SYS_futex, SYS_ptrace,
                          SYS_chroot, SYS_seccomp, SYS_arch_prctl, SYS_getrandom, SYS_exit_group})
    EXPECT_EQ(answer(filter, call), kAllow) << call;
}

TEST(DefaultSeccompProfile, DeniesWhatReachesBeyondAContainer) {
  const SeccompFilter filter = default_filter();

  for (const long call :
       {SYS_mount, SYS_unshare, SYS_setns, SYS_keyctl, SYS_add_key, SYS_bpf, SYS_perf_event_open,
        SYS_reboot, SYS_init_module, SYS_kexec_load, SYS_io_uring_setup, SYS_userfaultfd,
        SYS_open_by_handle_at, SYS_settimeofday})
    EXPECT_EQ(answer(filter, call), errno_action(EPERM)) << call;
}

TEST(DefaultSeccompProfile, LooksAtArguments) {
  const SeccompFilter filter = default_filter();

  EXPECT_EQ(answer(filter, SYS_socket, {2}), kAllow);
  EXPECT_EQ(answer(filter, SYS_socket, {40}), errno_action(EPERM));  // AF_VSOCK
  EXPECT_EQ(answer(filter, SYS_personality, {0xffffffff}), kAllow);
  EXPECT_EQ(answer(filter, SYS_personality, {0x0040000}), errno_action(EPERM));
  EXPECT_EQ(answer(filter, SYS_clone, {0x01200011}), kAllow);
  EXPECT_EQ(answer(filter, SYS_clone, {0x10000011}), errno_action(EPERM));  // CLONE_NEWUSER
  EXPECT_EQ(answer(filter, SYS_clone, {0x02000011}), errno_action(EPERM));  // CLONE_NEWCGROUP
  EXPECT_EQ(answer(filter, SYS_clone3), errno_action(ENOSYS));
}

TEST(DefaultSeccompProfile, OpensWhatACapabilityIsFor) {
  const auto with = [](const char* name) {
    return default_filter(kDefaultCapabilities | capability_bit(name));
  };

  const SeccompFilter admin = with("CAP_SYS_ADMIN");
  for (const long call : {SYS_mount, SYS_unshare, SYS_setns, SYS_bpf, SYS_clone3, 459})
    EXPECT_EQ(answer(admin, call), kAllow) << call;
  EXPECT_EQ(answer(admin, SYS_clone, {0x10000011}), kAllow);
  EXPECT_EQ(answer(default_filter(), 459), errno_action(EPERM));  // lsm_get_self_attr
  EXPECT_EQ(answer(with("CAP_BPF"), SYS_bpf), kAllow);
  EXPECT_EQ(answer(with("CAP_PERFMON"), SYS_perf_event_open), kAllow);
  EXPECT_EQ(answer(with("CAP_SYS_TIME"), SYS_settimeofday), kAllow);
  EXPECT_EQ(answer(with("CAP_DAC_READ_SEARCH"), SYS_open_by_handle_at), kAllow);
  EXPECT_EQ(answer(with("CAP_SYS_NICE"), SYS_mbind), kAllow);
  EXPECT_EQ(answer(default_filter(0), SYS_chroot), errno_action(EPERM));
  EXPECT_NE(default_filter(kAllCapabilities).program.size(), 0u);
}

TEST(DefaultSeccompProfile, AllowsTracingOnlyWhereTheKernelLooksTwice) {
  EXPECT_EQ(answer(default_filter(kDefaultCapabilities, {4, 7}), SYS_ptrace), errno_action(EPERM));
  EXPECT_EQ(answer(default_filter(kDefaultCapabilities, {4, 8}), SYS_ptrace), kAllow);
}

TEST(DefaultSeccompProfile, KnowsCallsThatAreNewerThanTheLibrary) {
  const SeccompFilter filter = default_filter();

  for (const std::uint32_t call : {451u, 452u, 453u, 454u, 457u, 462u, 463u, 466u}) {
    EXPECT_EQ(answer(filter, call), kAllow) << call;
    if (call != 453) {  // x32 has no shadow stacks
      EXPECT_EQ(answer(filter, call | kX32), kAllow) << call;
    }
    EXPECT_EQ(evaluate(filter, AUDIT_ARCH_I386, call), kAllow) << call;
  }
  EXPECT_EQ(answer(filter, 335), kAllow);  // uretprobe
}

TEST(DefaultSeccompProfile, SaysThatCallsOfTheFutureDoNotExist) {
  const SeccompFilter filter = default_filter();

  for (const std::uint32_t call : {467u, 500u, 100000u, 0x3fffff00u}) {
    EXPECT_EQ(answer(filter, call), errno_action(ENOSYS)) << call;
    EXPECT_EQ(evaluate(filter, AUDIT_ARCH_I386, call), errno_action(ENOSYS)) << call;
    // x32 has calls of its own from 512 to 547.
    EXPECT_EQ(answer(filter, (call + 100) | kX32), errno_action(ENOSYS)) << call;
  }
}

TEST(DefaultSeccompProfile, CoversTheOtherKindsOfX86) {
  const SeccompFilter filter = default_filter();
  const auto i386 = [&](const char* name) {
    return evaluate(filter, AUDIT_ARCH_I386, number(SCMP_ARCH_X86, name));
  };

  EXPECT_EQ(i386("read"), kAllow);
  EXPECT_EQ(i386("clock_gettime64"), kAllow);
  EXPECT_EQ(i386("mount"), errno_action(EPERM));
  EXPECT_EQ(i386("umount"), errno_action(EPERM));
  EXPECT_EQ(answer(filter, number(SCMP_ARCH_X32, "read")), kAllow);
  EXPECT_EQ(answer(filter, number(SCMP_ARCH_X32, "ptrace")), kAllow);
  EXPECT_EQ(answer(filter, number(SCMP_ARCH_X32, "mount")), errno_action(EPERM));
  EXPECT_EQ(evaluate(filter, AUDIT_ARCH_AARCH64, 63), std::uint32_t{SECCOMP_RET_KILL_THREAD});
}

constexpr std::uint64_t kVsockFamily = 40;
constexpr std::uint64_t kHighBit = std::uint64_t{1} << 32;

/// The answer to i386's `multiplexer` with `call` as its first argument.
std::uint32_t packed(const SeccompFilter& filter, const char* multiplexer, std::uint64_t call) {
  return evaluate(filter, AUDIT_ARCH_I386, number(SCMP_ARCH_X86, multiplexer), {call, 0xffff1234});
}

/// A profile for all kinds of calls, with these rules.
SeccompFilter filter_for_x86(const std::string& default_action, const std::string& rules) {
  const auto filter =
      compile(R"({"defaultAction":")" + default_action +
              R"(","architectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"],"syscalls":[)" + rules + "]}");
  EXPECT_TRUE(filter) << filter.error().message;
  return filter ? *filter : SeccompFilter{};
}

TEST(DefaultSeccompProfile, RefusesVsockInEveryShapeThatACallCanHave) {
  const SeccompFilter filter = default_filter();
  const std::uint32_t x32 = number(SCMP_ARCH_X32, "socket");
  constexpr std::uint32_t kDirect = 359;  // i386's socket, since Linux 4.3

  for (const std::uint64_t high : {std::uint64_t{0}, kHighBit, ~std::uint64_t{0} << 32}) {
    EXPECT_EQ(answer(filter, SYS_socket, {kVsockFamily | high}), errno_action(EPERM)) << high;
    EXPECT_EQ(answer(filter, x32, {kVsockFamily | high}), errno_action(EPERM)) << high;
    EXPECT_EQ(answer(filter, SYS_socket, {AF_INET | high}), kAllow) << high;
    EXPECT_EQ(answer(filter, x32, {AF_INET | high}), kAllow) << high;
  }
  EXPECT_EQ(evaluate(filter, AUDIT_ARCH_I386, kDirect, {kVsockFamily}), errno_action(EPERM));
  EXPECT_EQ(evaluate(filter, AUDIT_ARCH_I386, kDirect, {AF_INET}), kAllow);
  EXPECT_EQ(packed(filter, "socketcall", 1), errno_action(EPERM));
}

TEST(DefaultSeccompProfile, AllowsWhatElsePackedCallsStandFor) {
  const SeccompFilter filter = default_filter();

  for (std::uint64_t call = 2; call <= 20; ++call)
    EXPECT_EQ(packed(filter, "socketcall", call), kAllow) << call;
  for (const std::uint64_t call : {1u, 2u, 3u, 4u, 11u, 12u, 13u, 14u, 21u, 22u, 23u, 24u}) {
    EXPECT_EQ(packed(filter, "ipc", call), kAllow) << call;
    EXPECT_EQ(packed(filter, "ipc", call | 1 << 16), kAllow) << call;
  }
  EXPECT_EQ(evaluate(filter, AUDIT_ARCH_I386, number(SCMP_ARCH_X86, "mmap")), kAllow);
  EXPECT_EQ(evaluate(filter, AUDIT_ARCH_I386, number(SCMP_ARCH_X86, "select")), kAllow);
}

TEST(SeccompFilter, JudgesAPackedCallAsTheOneThatItStandsFor) {
  const SeccompFilter denies = filter_for_x86(
      "SCMP_ACT_ALLOW", R"({"names":["connect","shmget"],"action":"SCMP_ACT_ERRNO"},)"
                        R"({"names":["socketcall","ipc"],"action":"SCMP_ACT_ALLOW"})");
  const SeccompFilter allows = filter_for_x86(
      "SCMP_ACT_ERRNO",
      R"({"names":["connect","accept4","shmget","socketcall"],"action":"SCMP_ACT_ALLOW"})");

  EXPECT_EQ(packed(denies, "socketcall", 3), errno_action(EPERM));
  EXPECT_EQ(packed(denies, "socketcall", 2), kAllow);
  EXPECT_EQ(packed(denies, "ipc", 23), errno_action(EPERM));
  EXPECT_EQ(packed(denies, "ipc", 23 | 1 << 16), errno_action(EPERM));
  EXPECT_EQ(packed(denies, "ipc", 24), kAllow);
  EXPECT_EQ(packed(allows, "socketcall", 3), kAllow);
  EXPECT_EQ(packed(allows, "socketcall", 5), kAllow);  // accept is a form of accept4
  EXPECT_EQ(packed(allows, "socketcall", 2), errno_action(EPERM));
  EXPECT_EQ(packed(allows, "ipc", 23), kAllow);
  EXPECT_EQ(packed(allows, "ipc", 24), errno_action(EPERM));
}

TEST(SeccompFilter, TakesTheStrictestAnswerWhereItCannotSeeTheArguments) {
  const auto rule = [](const char* name, const char* action, int value) {
    return std::string(R"({"names":[")") + name + R"("],"action":"SCMP_ACT_)" + action +
           R"(","args":[{"index":0,"op":"SCMP_CMP_EQ","value":)" + std::to_string(value) + "}]}";
  };
  const SeccompFilter filter = filter_for_x86(
      "SCMP_ACT_ALLOW", rule("socket", "TRAP", 16) + "," + rule("socket", "KILL_PROCESS", 17) +
                            "," + rule("mmap", "ERRNO", 5));

  EXPECT_EQ(packed(filter, "socketcall", 1), std::uint32_t{SECCOMP_RET_KILL_PROCESS});
  EXPECT_EQ(packed(filter, "socketcall", 3), kAllow);
  EXPECT_EQ(evaluate(filter, AUDIT_ARCH_I386, number(SCMP_ARCH_X86, "mmap"), {0x1234}),
            errno_action(EPERM));
}

TEST(SeccompFilter, HoldsSocketcallShutThoughEachOfItsCallsIsAllowed) {
  const SeccompFilter filter = filter_for_x86(
      "SCMP_ACT_ERRNO", R"({"names":["socketcall"],"action":"SCMP_ACT_ERRNO"},)"
                        R"({"names":["socket","connect"],"action":"SCMP_ACT_ALLOW"})");

  EXPECT_EQ(packed(filter, "socketcall", 1), errno_action(EPERM));
  EXPECT_EQ(packed(filter, "socketcall", 3), errno_action(EPERM));
}

TEST(SeccompFilter, ComparesWhatTheKernelWillSeeOfAnArgument) {
  constexpr std::uint64_t kTiocsti = 0x5412;
  constexpr std::uint64_t kSignExtended = 0xffffffff80045430;  // as musl passes TIOCGPTN
  const SeccompFilter filter = filter_for_x86(
      "SCMP_ACT_ALLOW", R"({"names":["ioctl"],"action":"SCMP_ACT_ERRNO","args":[{"index":1,)"
                        R"("op":"SCMP_CMP_EQ","value":21522}]})");
  const SeccompFilter ordered = filter_for_x86(
      "SCMP_ACT_ERRNO", R"({"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,)"
                        R"("op":"SCMP_CMP_GT","value":40}]})");
  const std::uint32_t x32 = number(SCMP_ARCH_X32, "ioctl");

  EXPECT_EQ(answer(filter, SYS_ioctl, {0, kTiocsti}), errno_action(EPERM));
  EXPECT_EQ(answer(filter, SYS_ioctl, {0, kTiocsti | kHighBit}), errno_action(EPERM));
  EXPECT_EQ(answer(filter, x32, {0, kTiocsti | kHighBit}), errno_action(EPERM));
  EXPECT_EQ(answer(filter, SYS_ioctl, {0, kSignExtended}), kAllow);
  EXPECT_EQ(answer(filter, SYS_ioctl, {kHighBit, 0x5401}), kAllow);
  EXPECT_EQ(answer(ordered, SYS_socket, {41}), kAllow);
  EXPECT_EQ(answer(ordered, SYS_socket, {kVsockFamily | kHighBit}), errno_action(EPERM));
}

TEST(SeccompFilter, TakesEveryAction) {
  const auto action = [](const std::string& fields) {
    return answer(filter_of("SCMP_ACT_ALLOW", R"({"name":"mkdir",)" + fields + "}"), SYS_mkdir);
  };

  EXPECT_EQ(action(R"("action":"SCMP_ACT_KILL")"), std::uint32_t{SECCOMP_RET_KILL_THREAD});
  EXPECT_EQ(action(R"("action":"SCMP_ACT_KILL_THREAD")"), std::uint32_t{SECCOMP_RET_KILL_THREAD});
  EXPECT_EQ(action(R"("action":"SCMP_ACT_KILL_PROCESS")"), std::uint32_t{SECCOMP_RET_KILL_PROCESS});
  EXPECT_EQ(action(R"("action":"SCMP_ACT_TRAP")"), std::uint32_t{SECCOMP_RET_TRAP});
  EXPECT_EQ(action(R"("action":"SCMP_ACT_LOG")"), std::uint32_t{SECCOMP_RET_LOG});
  EXPECT_EQ(action(R"("action":"SCMP_ACT_ALLOW")"), kAllow);
  EXPECT_EQ(action(R"("action":"SCMP_ACT_ERRNO")"), errno_action(EPERM));
  EXPECT_EQ(action(R"("action":"SCMP_ACT_ERRNO","errnoRet":38)"), errno_action(ENOSYS));
  EXPECT_EQ(action(R"("action":"SCMP_ACT_TRACE","errnoRet":7)"), SECCOMP_RET_TRACE | 7u);
}

TEST(SeccompFilter, TakesEveryOperator) {
  const auto allowed = [](const char* op, std::uint64_t value, std::uint64_t two = 0) {
    const SeccompFilter filter =
        filter_of("SCMP_ACT_ERRNO",
                  R"({"name":"dup2","action":"SCMP_ACT_ALLOW","args":[{"index":1,"value":5,)"
                  R"("valueTwo":)" +
                      std::to_string(two) + R"(,"op":"SCMP_CMP_)" + op + "\"}]}");
    return answer(filter, SYS_dup2, {0, value}) == kAllow;
  };

  EXPECT_TRUE(allowed("EQ", 5) && !allowed("EQ", 6) && !allowed("EQ", 5 + (1ull << 32)));
  EXPECT_TRUE(allowed("NE", 6) && !allowed("NE", 5));
  EXPECT_TRUE(allowed("LT", 4) && !allowed("LT", 5));
  EXPECT_TRUE(allowed("LE", 5) && !allowed("LE", 6));
  EXPECT_TRUE(allowed("GT", 6) && allowed("GT", 1ull << 32) && !allowed("GT", 5));
  EXPECT_TRUE(allowed("GE", 5) && !allowed("GE", 4));
  EXPECT_TRUE(allowed("MASKED_EQ", 0xc, 4) && !allowed("MASKED_EQ", 0xd, 4));
}

TEST(SeccompFilter, WantsAllConditionsButOneOfThoseOnTheSameArgument) {
  const auto rule = [](int second) {
    return R"({"name":"dup2","action":"SCMP_ACT_ALLOW","args":[
               {"index":0,"value":1,"op":"SCMP_CMP_EQ"},{"index":)" +
           std::to_string(second) + R"(,"value":2,"op":"SCMP_CMP_EQ"}]})";
  };

  const SeccompFilter both = filter_of("SCMP_ACT_ERRNO", rule(1));
  EXPECT_EQ(answer(both, SYS_dup2, {1, 2}), kAllow);
  EXPECT_EQ(answer(both, SYS_dup2, {1, 3}), errno_action(EPERM));
  const SeccompFilter either = filter_of("SCMP_ACT_ERRNO", rule(0));
  EXPECT_EQ(answer(either, SYS_dup2, {1}), kAllow);
  EXPECT_EQ(answer(either, SYS_dup2, {2}), kAllow);
  EXPECT_EQ(answer(either, SYS_dup2, {3}), errno_action(EPERM));
}

TEST(SeccompFilter, LetsCallsOfTheFutureGoWhereTheDefaultDoes) {
  const std::string rule = R"({"name":"mkdir","action":"SCMP_ACT_ERRNO","errnoRet":5})";

  for (const char* action : {"SCMP_ACT_ALLOW", "SCMP_ACT_LOG"})
    EXPECT_NE(answer(filter_of(action, rule), 5000), errno_action(ENOSYS)) << action;
  EXPECT_EQ(answer(filter_of("SCMP_ACT_KILL_PROCESS", rule), 5000), errno_action(ENOSYS));
  // Newer than mkdir is newer than all that this profile knows.
  EXPECT_EQ(answer(filter_of("SCMP_ACT_KILL_PROCESS", rule), SYS_openat), errno_action(ENOSYS));
}

TEST(SeccompFilter, PassesOverNamesThatNobodyKnows) {
  const SeccompFilter filter =
      filter_of("SCMP_ACT_ERRNO", R"({"names":["no_such_call","read"],"action":"SCMP_ACT_ALLOW"})");

  EXPECT_EQ(answer(filter, SYS_read), kAllow);
}

TEST(SeccompFilter, LeavesRulesOutThatDoNotApply) {
  const auto filter = compile(R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
      {"name":"mkdir","action":"nonsense","includes":{"arches":["arm64"]}},
      {"name":"mkdir","action":"nonsense","excludes":{"arches":["amd64"]}},
      {"name":"mkdir","action":"nonsense","includes":{"minKernel":"7.0"}},
      {"name":"mkdir","action":"nonsense","excludes":{"minKernel":"6.12"}},
      {"name":"mkdir","action":"nonsense","includes":{"caps":["CAP_CHOWN","CAP_BPF"]}},
      {"name":"mkdir","action":"nonsense","excludes":{"caps":["CAP_BPF","CAP_CHOWN"]}}]})");

  ASSERT_TRUE(filter) << filter.error().message;
  EXPECT_EQ(answer(*filter, SYS_mkdir), kAllow);
}

TEST(SeccompFilter, SaysWhatIsWrongInRuncsWords) {
  EXPECT_EQ(error_of(R"({"defaultAction":"ALLOW"})"),
            "string ALLOW is not a valid action for seccomp");
  EXPECT_EQ(error_of(R"({"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_PDP11"]})"),
            "string SCMP_ARCH_PDP11 is not a valid arch for seccomp");
  EXPECT_EQ(error_of(R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"read",
                         "action":"SCMP_ACT_KILL","args":[{"op":"EQ"}]}]})"),
            "string EQ is not a valid operator for seccomp");
  EXPECT_EQ(error_of(R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":[""],
                         "action":"SCMP_ACT_KILL"}]})"),
            "empty string is not a valid syscall");
  EXPECT_NE(error_of(R"({"defaultAction":"SCMP_ACT_ALLOW","flags":["X"]})"), "");
  EXPECT_NE(error_of(R"({"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":4096})"), "");
  EXPECT_NE(error_of(R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"read",
                         "action":"SCMP_ACT_KILL","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}]})"),
            "");
}

TEST(SeccompFilter, RefusesWhatNobodyCouldAnswer) {
  for (const char* text : {R"({"defaultAction":"SCMP_ACT_NOTIFY"})",
                           R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"mseal",
                              "action":"SCMP_ACT_KILL","args":[{"op":"SCMP_CMP_EQ"}]}]})"}) {
    const auto filter = compile(text);
    ASSERT_FALSE(filter);
    EXPECT_EQ(filter.error().code, Code::kNotSupported) << filter.error().message;
  }
}

TEST(SeccompFilter, BoundsRulesAndInstructions) {
  const auto profile = [](std::size_t rules) {
    std::string text = R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[)";
    for (std::size_t i = 0; i < rules; ++i)
      text += (i > 0 ? "," : "") +
              std::string(R"({"name":"dup3","action":"SCMP_ACT_KILL","args":[{"index":)") +
              std::to_string(i % 6) + R"(,"op":"SCMP_CMP_NE","value":)" + std::to_string(i << 31) +
              "}]}";
    return text + "]}";
  };

  EXPECT_EQ(error_of(profile(kMaxSeccompRules + 1)),
            "the seccomp profile has more than 1024 rules");
  const std::string long_program = error_of(profile(kMaxSeccompRules));
  EXPECT_NE(long_program.find("instructions; the kernel takes 4096"), std::string::npos)
      << long_program;
}

TEST(SeccompFilter, BoundsWhatTheLibraryTakesTooLongFor) {
  const auto profile = [](int rules) {
    std::string text = R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[)";
    for (int i = 0; i < rules; ++i) {
      const std::string value = R"(,"op":"SCMP_CMP_GT","value":)" + std::to_string(i) + "}";
      text += (i > 0 ? "," : "") +
              std::string(R"({"name":"dup3","action":"SCMP_ACT_KILL","args":[)") + R"({"index":0)" +
              value + R"(,{"index":1)" + value + R"(,{"index":2)" + value + "]}";
    }
    return text + "]}";
  };

  EXPECT_EQ(error_of(profile(6)), "");
  EXPECT_EQ(error_of(profile(7)), "the seccomp profile has too many conditions for dup3");
}

TEST(SeccompFilter, KnowsTheFlags) {
  const auto flags = [](const char* field) {
    const auto filter = compile(R"({"defaultAction":"SCMP_ACT_ALLOW")" + std::string(field) + "}");
    return filter ? filter->flags : ~0u;
  };

  EXPECT_EQ(flags(""), std::uint32_t{SECCOMP_FILTER_FLAG_SPEC_ALLOW});
  EXPECT_EQ(flags(R"(,"flags":[])"), 0u);
  EXPECT_EQ(flags(R"(,"flags":["SECCOMP_FILTER_FLAG_LOG","SECCOMP_FILTER_FLAG_TSYNC"])"),
            std::uint32_t{SECCOMP_FILTER_FLAG_LOG});
}

TEST(SeccompFilter, IsTakenByTheKernel) {
  const SeccompFilter custom =
      filter_of("SCMP_ACT_ALLOW", R"({"name":"mkdir","action":"SCMP_ACT_ERRNO","errnoRet":98})");
  for (const SeccompFilter& filter : {custom, default_filter(), default_filter(kAllCapabilities)}) {
    const pid_t child = fork();
    if (child == 0) {
      auto code = filter.program;
      sock_fprog program{static_cast<unsigned short>(code.size() / sizeof(sock_filter)),
                         reinterpret_cast<sock_filter*>(code.data())};
      prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
      if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, filter.flags, &program) != 0) _exit(1);
      const bool refused = mkdir("/proc/no", 0700) != 0;
      _exit(refused && (errno == 98) == (code == custom.program) ? 0 : 2);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
}

}  // namespace
}  // namespace engine
