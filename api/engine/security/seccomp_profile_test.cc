#include "api/engine/security/seccomp_profile.h"

#include <gtest/gtest.h>

namespace engine {
namespace {

using base::Code;

std::string error_of(std::string_view text) {
  const auto profile = parse_seccomp_profile(text);
  return profile ? "" : profile.error().message;
}

TEST(SeccompProfile, ReadsEveryField) {
  const auto parsed = parse_seccomp_profile(R"({
      "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 99,
      "architectures": ["SCMP_ARCH_X86"], "flags": ["SECCOMP_FILTER_FLAG_LOG"],
      "syscalls": [{"names": ["clone", "fork"], "action": "SCMP_ACT_ALLOW", "errnoRet": 3,
                    "args": [{"index": 1, "value": 18446744073709551615, "valueTwo": 2,
                              "op": "SCMP_CMP_EQ"}],
                    "comment": "why", "unknown": {},
                    "includes": {"caps": ["CAP_BPF"], "arches": ["amd64"], "minKernel": "4.8"},
                    "excludes": {"caps": ["CAP_KILL"]}}]})");

  ASSERT_TRUE(parsed);
  ASSERT_TRUE(*parsed);
  const SeccompProfile& profile = **parsed;
  EXPECT_EQ(profile.default_action, "SCMP_ACT_ERRNO");
  EXPECT_EQ(profile.default_errno_return, 99u);
  EXPECT_EQ(profile.architectures, std::vector<std::string>{"SCMP_ARCH_X86"});
  EXPECT_EQ(profile.flags, std::vector<std::string>{"SECCOMP_FILTER_FLAG_LOG"});
  ASSERT_EQ(profile.rules.size(), 1u);
  const SeccompRule& rule = profile.rules[0];
  EXPECT_EQ(rule.names, (std::vector<std::string>{"clone", "fork"}));
  EXPECT_EQ(rule.action, "SCMP_ACT_ALLOW");
  EXPECT_EQ(rule.errno_return, 3u);
  ASSERT_EQ(rule.arguments.size(), 1u);
  EXPECT_EQ(rule.arguments[0].index, 1u);
  EXPECT_EQ(rule.arguments[0].value, ~std::uint64_t{0});
  EXPECT_EQ(rule.arguments[0].value_two, 2u);
  EXPECT_EQ(rule.arguments[0].op, "SCMP_CMP_EQ");
  EXPECT_EQ(rule.includes.capabilities, std::vector<std::string>{"CAP_BPF"});
  EXPECT_EQ(rule.includes.architectures, std::vector<std::string>{"amd64"});
  EXPECT_EQ(rule.includes.min_kernel, (KernelVersion{4, 8}));
  EXPECT_EQ(rule.excludes.capabilities, std::vector<std::string>{"CAP_KILL"});
}

TEST(SeccompProfile, TakesNamesInAnyCaseAndNullForNothing) {
  const auto parsed = parse_seccomp_profile(
      R"({"DefaultAction":"SCMP_ACT_ALLOW","architectures":null,"syscalls":[{"name":"mkdir",
          "NAMES":null,"ACTION":"SCMP_ACT_KILL","args":null,"includes":null,"errnoRet":null}]})");

  ASSERT_TRUE(parsed && *parsed) << error_of("{}");
  EXPECT_EQ((*parsed)->default_action, "SCMP_ACT_ALLOW");
  EXPECT_EQ((*parsed)->rules.at(0).names, std::vector<std::string>{"mkdir"});
}

TEST(SeccompProfile, TakesTheKindsOfThisMachineFromAnArchMap) {
  const auto parsed = parse_seccomp_profile(
      R"({"defaultAction":"SCMP_ACT_ALLOW","archMap":[
          {"architecture":"SCMP_ARCH_AARCH64","subArchitectures":["SCMP_ARCH_ARM"]},
          {"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}]})");

  ASSERT_TRUE(parsed && *parsed);
  EXPECT_EQ((*parsed)->architectures,
            (std::vector<std::string>{"SCMP_ARCH_X86_64", "SCMP_ARCH_X86"}));
}

TEST(SeccompProfile, ThatAsksForNothingIsNone) {
  for (const char* text : {"{}", "null", R"({"syscalls":[]})", R"({"architectures":["x"]})"}) {
    const auto parsed = parse_seccomp_profile(text);
    ASSERT_TRUE(parsed) << text;
    EXPECT_FALSE(*parsed) << text;
  }
}

TEST(SeccompProfile, SaysWhatIsWrongInDockersWords) {
  const std::string start = "Decoding seccomp profile failed: ";
  EXPECT_EQ(error_of("/etc/profile.json"),
            start + "invalid character '/' looking for beginning of value");
  EXPECT_EQ(error_of("{"), start + "unexpected end of JSON input");
  EXPECT_EQ(error_of(" "), start + "unexpected end of JSON input");
  EXPECT_EQ(error_of(R"({"a":x})"), start + "invalid JSON at byte 6");
  EXPECT_EQ(error_of("[]"),
            start + "json: cannot unmarshal array into the profile, which is an object");
  EXPECT_EQ(error_of(R"({"defaultAction":1})"),
            start + "json: cannot unmarshal number into defaultAction, which is a string");
  EXPECT_EQ(error_of(R"({"defaultErrnoRet":-1})"),
            start +
                "json: cannot unmarshal number into defaultErrnoRet, which is a number from 0 "
                "to 2^64-1");
  EXPECT_EQ(error_of(R"({"syscalls":[{"args":[{"index":"x"}]}]})"),
            start +
                "json: cannot unmarshal string into syscalls[0].args[0].index, which is a "
                "number from 0 to 2^64-1");
  EXPECT_EQ(error_of(R"({"syscalls":[null]})"),
            start + "json: cannot unmarshal null into syscalls[0], which is an object");
  for (const char* version : {"4", "4.8.1", "x.1", "0.0", "300.1", "4.-1"})
    EXPECT_EQ(
        error_of(R"({"syscalls":[{"includes":{"minKernel":")" + std::string(version) + R"("}}]})"),
        start + "invalid kernel version: \"" + version + "\", expected \"<kernel>.<major>\"");
}

TEST(SeccompProfile, RefusesTwoWaysOfSayingOneThing) {
  EXPECT_EQ(error_of(R"({"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86"],
                         "archMap":[{"architecture":"SCMP_ARCH_X86_64"}]})"),
            "both 'architectures' and 'archMap' are specified in the seccomp profile, use either "
            "'architectures' or 'archMap'");
  EXPECT_EQ(error_of(R"({"syscalls":[{"name":"a","names":["b"]}]})"),
            "both 'name' and 'names' are specified in the seccomp profile, use either 'name' or "
            "'names'");
}

TEST(SeccompProfile, RefusesAListener) {
  const auto parsed = parse_seccomp_profile(
      R"({"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/run/agent.sock"})");

  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().code, Code::kNotSupported);
}

TEST(KernelVersion, IsReadFromARelease) {
  EXPECT_EQ(kernel_version_of("6.12.117-containervm"), (KernelVersion{6, 12}));
  EXPECT_EQ(kernel_version_of("6.1"), (KernelVersion{6, 1}));
  EXPECT_EQ(kernel_version_of("x"), KernelVersion{});
  EXPECT_LT((KernelVersion{4, 9}), (KernelVersion{4, 10}));
}

}  // namespace
}  // namespace engine
