#include "images/store/values/reference.h"

#include <gtest/gtest.h>

namespace images {
namespace {

TEST(Reference, NormalisesShortNames) {
  struct Case {
    const char* text;
    const char* repository;
    const char* tag;
    const char* familiar;
  };
  for (const Case& c : {
           Case{"busybox", "docker.io/library/busybox", "", "busybox"},
           Case{"busybox:1.36", "docker.io/library/busybox", "1.36", "busybox:1.36"},
           Case{"user/app", "docker.io/user/app", "", "user/app"},
           Case{"docker.io/busybox", "docker.io/library/busybox", "", "busybox"},
           Case{"index.docker.io/library/busybox:x", "docker.io/library/busybox", "x", "busybox:x"},
           Case{"localhost/app", "localhost/app", "", "localhost/app"},
           Case{"localhost:5000/app:v1", "localhost:5000/app", "v1", "localhost:5000/app:v1"},
           Case{"[::1]:5000/app", "[::1]:5000/app", "", "[::1]:5000/app"},
           Case{"registry.example/a/b_c/d__e.f---g", "registry.example/a/b_c/d__e.f---g", "",
                "registry.example/a/b_c/d__e.f---g"},
       }) {
    auto reference = Reference::parse(c.text);
    ASSERT_TRUE(reference) << c.text;
    EXPECT_EQ(reference->repository(), c.repository) << c.text;
    EXPECT_EQ(reference->tag(), c.tag) << c.text;
    EXPECT_EQ(reference->familiar(), c.familiar) << c.text;
  }
}

TEST(Reference, ReadsDigests) {
  const std::string digest = "sha256:" + std::string(64, 'a');

  auto reference = Reference::parse("app:1@" + digest);

  ASSERT_TRUE(reference);
  EXPECT_EQ(reference->tag(), "1");
  EXPECT_EQ(reference->digest(), digest);
  EXPECT_EQ(reference->with_default_tag().tag(), "1");
}

TEST(Reference, RefusesWhatIsNoName) {
  for (const std::string& text : {std::string(),
                                  std::string("a b"),
                                  std::string("-a"),
                                  std::string("a-"),
                                  std::string("a..b"),
                                  std::string("a/"),
                                  std::string("/a"),
                                  std::string("a//b"),
                                  std::string("a:"),
                                  std::string("a:-x"),
                                  std::string("a:b:c"),
                                  std::string("a@sha256:12"),
                                  std::string("a@md5:") + std::string(64, 'a'),
                                  std::string("a___b"),
                                  std::string("a\0b", 3),
                                  std::string("host.com:x/a"),
                                  std::string("[::1/a"),
                                  std::string("http://host/a"),
                                  std::string("../etc/passwd"),
                                  std::string("a:") + std::string(129, 't'),
                                  std::string("a/") + std::string(300, 'b'),
                                  std::string(5000, 'a'),
                                  std::string("\xff\xfe")}) {
    auto reference = Reference::parse(text);
    ASSERT_FALSE(reference) << text;
    EXPECT_EQ(reference.error().code, base::Code::kInvalidArgument);
  }
}

TEST(Reference, SaysWhatDockerSays) {
  EXPECT_EQ(Reference::parse("Foo").error().message,
            "invalid reference format: repository name (library/Foo) must be lowercase");
  EXPECT_EQ(Reference::parse(std::string(64, 'a')).error().message,
            "invalid reference format: repository name (" + std::string(64, 'a') +
                ") cannot be 64-byte hexadecimal strings");
  EXPECT_EQ(Reference::parse("a b").error().message, "invalid reference format");
}

TEST(Reference, MatchesPatternsAsDockerDoes) {
  EXPECT_TRUE(matches_pattern("busybox", "busybox", "1", false));
  EXPECT_TRUE(matches_pattern("busy*", "busybox", "1", false));
  EXPECT_TRUE(matches_pattern("*:1", "busybox", "1", false));
  EXPECT_TRUE(matches_pattern("*/app", "user/app", "1", false));
  EXPECT_FALSE(matches_pattern("*", "user/app", "1", false));
  EXPECT_FALSE(matches_pattern("busybox:2", "busybox", "1", false));
}

}  // namespace
}  // namespace images
