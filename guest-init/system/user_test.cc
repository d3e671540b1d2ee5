#include "guest-init/system/user.h"

#include <gtest/gtest.h>

namespace guest_init {
namespace {

using ::testing::Test;
using Groups = std::vector<std::uint32_t>;

constexpr const char* kPasswd =
    "root:x:0:0:root:/root:/bin/sh\n"
    "# comment:x:1:1::/:\n"
    "web:x:33:34::/srv:/bin/sh\n"
    "twin:x:33:99::/twin:\n"
    "nobody:x:65534:65534::/nonexistent:";
constexpr const char* kGroup =
    "root:x:0:\n"
    "web:x:34:\n"
    "extra:x:50:other,web\n"
    "almost:x:51:webx,we\n"
    "late:x:60:web";

Credentials resolved(std::string_view spec, const std::vector<std::string>& additional = {}) {
  auto result = resolve_user(spec, additional, kPasswd, kGroup);
  EXPECT_TRUE(result) << result.error().message;
  return result ? *result : Credentials{};
}

std::string refusal(std::string_view spec, const std::vector<std::string>& additional = {}) {
  auto result = resolve_user(spec, additional, kPasswd, kGroup);
  EXPECT_FALSE(result);
  return result ? "" : result.error().message;
}

TEST(ResolveUser, IsRootWithoutAName) {
  const Credentials user = resolved("");

  EXPECT_EQ(user.uid, 0u);
  EXPECT_EQ(user.groups, Groups{0});
  EXPECT_EQ(user.home, "/root");
}

TEST(ResolveUser, TakesGroupAndMembershipsOfAName) {
  const Credentials user = resolved("web");

  EXPECT_EQ(user.uid, 33u);
  EXPECT_EQ(user.gid, 34u);
  EXPECT_EQ(user.groups, (Groups{34, 50, 60}));
  EXPECT_EQ(user.home, "/srv");
}

TEST(ResolveUser, FindsTheFirstEntryOfANumber) {
  const Credentials user = resolved("33");

  EXPECT_EQ(user.gid, 34u);
  EXPECT_EQ(user.home, "/srv");
}

TEST(ResolveUser, AcceptsANumberWithoutAnEntry) {
  const Credentials user = resolved("1234");

  EXPECT_EQ(user.uid, 1234u);
  EXPECT_EQ(user.gid, 0u);
  EXPECT_EQ(user.home, "/");
}

TEST(ResolveUser, LetsAnExplicitGroupReplaceTheMemberships) {
  EXPECT_EQ(resolved("web:extra").groups, Groups{50});
  EXPECT_EQ(resolved("web:4321").groups, Groups{4321});
  EXPECT_EQ(resolved(":late").gid, 60u);
}

TEST(ResolveUser, AddsGroupsOnce) {
  EXPECT_EQ(resolved("web", {"late", "77", "web"}).groups, (Groups{34, 50, 60, 77}));
}

TEST(ResolveUser, SaysWhichNameIsMissingAsDockerDoes) {
  EXPECT_EQ(refusal("absent"), "unable to find user absent: no matching entries in passwd file");
  EXPECT_EQ(refusal("web:absent"),
            "unable to find group absent: no matching entries in group file");
  EXPECT_EQ(refusal("web", {"absent"}), "Unable to find group absent");
}

TEST(ResolveUser, RefusesNumbersOutOfRange) {
  EXPECT_FALSE(resolve_user("2147483648", {}, kPasswd, kGroup));
  EXPECT_FALSE(resolve_user("-1", {}, kPasswd, kGroup));
  EXPECT_FALSE(resolve_user("99999999999999999999", {}, kPasswd, kGroup));
}

TEST(ResolveUser, SkipsLinesThatAreNoEntries) {
  const std::string hostile =
      "\n:::::\nweb\nweb:x\nweb:x:nan:1\nweb:x:4294967295:1::/:\nweb:x:-1:0::/:\n" +
      std::string(100000, ':') + "\nweb:x:7:8::/home/web:/bin/sh\r\n";

  const auto user = resolve_user("web", {}, hostile, "");

  ASSERT_TRUE(user);
  EXPECT_EQ(user->uid, 7u);
  EXPECT_EQ(user->home, "/home/web");
}

TEST(ResolveUser, WorksWithoutFiles) {
  EXPECT_TRUE(resolve_user("", {}, "", ""));
  EXPECT_TRUE(resolve_user("5:6", {}, "", ""));
  EXPECT_FALSE(resolve_user("root", {}, "", ""));
}

}  // namespace
}  // namespace guest_init
