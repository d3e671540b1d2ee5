#include "images/policy/signed_identity.h"

#include <gtest/gtest.h>

namespace images {
namespace {

using Rule = SignedIdentity::Rule;

constexpr const char* kDigest =
    "@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

bool matches(Rule rule, const std::string& image, const std::string& claimed,
             const std::string& name = "", const std::string& signed_prefix = "") {
  return matches_identity({.rule = rule, .name = name, .signed_prefix = signed_prefix}, image,
                          claimed);
}

TEST(SignedIdentity, MatchExactWantsTheSameTag) {
  EXPECT_TRUE(matches(Rule::kMatchExact, "a.b/c:1", "a.b/c:1"));
  EXPECT_TRUE(matches(Rule::kMatchExact, "docker.io/library/busybox:1", "busybox:1"));
  EXPECT_FALSE(matches(Rule::kMatchExact, "a.b/c:1", "a.b/c:2"));
  EXPECT_FALSE(matches(Rule::kMatchExact, "a.b/c:1", "a.b/c"));
  EXPECT_FALSE(matches(Rule::kMatchExact, std::string("a.b/c") + kDigest, "a.b/c:1"));
}

TEST(SignedIdentity, TheDefaultAcceptsAnyTagOfTheRepositoryForADigest) {
  EXPECT_TRUE(matches(Rule::kMatchRepoDigestOrExact, "a.b/c:1", "a.b/c:1"));
  EXPECT_FALSE(matches(Rule::kMatchRepoDigestOrExact, "a.b/c:1", "a.b/c:2"));
  EXPECT_TRUE(matches(Rule::kMatchRepoDigestOrExact, std::string("a.b/c") + kDigest, "a.b/c:1"));
  EXPECT_FALSE(matches(Rule::kMatchRepoDigestOrExact, std::string("a.b/c") + kDigest, "a.b/d:1"));
  EXPECT_FALSE(matches(Rule::kMatchRepoDigestOrExact, std::string("a.b/c") + kDigest, "a.b/c"));
}

TEST(SignedIdentity, MatchRepositoryAcceptsAnyTag) {
  EXPECT_TRUE(matches(Rule::kMatchRepository, "a.b/c:1", "a.b/c:2"));
  EXPECT_TRUE(matches(Rule::kMatchRepository, "a.b/c:1", "a.b/c"));
  EXPECT_FALSE(matches(Rule::kMatchRepository, "a.b/c:1", "a.b/c/d:1"));
}

TEST(SignedIdentity, ExactRulesCompareWithThePolicysName) {
  EXPECT_TRUE(matches(Rule::kExactReference, "mirror.b/c:1", "a.b/c:7", "a.b/c:7"));
  EXPECT_FALSE(matches(Rule::kExactReference, "mirror.b/c:1", "mirror.b/c:1", "a.b/c:7"));
  EXPECT_TRUE(matches(Rule::kExactRepository, "mirror.b/c:1", "a.b/c:9", "a.b/c"));
  EXPECT_TRUE(matches(Rule::kExactRepository, "", "a.b/c:9", "a.b/c"));
  EXPECT_FALSE(matches(Rule::kExactRepository, "mirror.b/c:1", "a.b/cc:9", "a.b/c"));
}

TEST(SignedIdentity, RemapIdentityReplacesWholeNamesOnly) {
  const auto remap = [](const std::string& image, const std::string& claimed) {
    return matches(Rule::kRemapIdentity, image, claimed, "m.b:5000/vendor", "v.example");
  };

  EXPECT_TRUE(remap("m.b:5000/vendor/p/q:1", "v.example/p/q:1"));
  EXPECT_FALSE(remap("m.b:5000/vendor/p/q:1", "v.example/p/q:2"));
  EXPECT_FALSE(remap("m.b:5000/vendor2/q:1", "v.example2/q:1"));
  EXPECT_TRUE(remap("other.b/q:1", "other.b/q:1"));
}

TEST(SignedIdentity, WhatIsNoNameNeverMatches) {
  EXPECT_FALSE(matches(Rule::kMatchRepository, "", ""));
  EXPECT_FALSE(matches(Rule::kMatchRepository, "a.b/c:1", "A B"));
  EXPECT_FALSE(matches(Rule::kMatchExact, "", "a.b/c:1"));
}

}  // namespace
}  // namespace images
