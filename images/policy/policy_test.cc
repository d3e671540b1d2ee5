#include "images/policy/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace images {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string error_of(const std::string& text) {
  const auto policy = Policy::parse(text);
  return policy ? "" : policy.error().message;
}

/// A policy whose only requirement for a registry has these members.
std::string error_of_requirement(const std::string& members) {
  return error_of(R"({"default":[{"type":"reject"}],"transports":{"docker":{"a.b":[{)" + members +
                  "}]}}}");
}

Origin origin(std::string transport, std::string reference) {
  return {.transport = std::move(transport),
          .reference = std::move(reference),
          .manifest_digests = {},
          .signatures = {}};
}

TEST(Policy, ReadsEveryRequirement) {
  const auto policy = Policy::parse(R"({
    "default": [{"type": "insecureAcceptAnything"}],
    "transports": {"docker": {"a.b/c": [
      {"type": "signedBy", "keyType": "GPGKeys", "keyPaths": ["/k1", "/k2"],
       "signedIdentity": {"type": "remapIdentity", "prefix": "a.b", "signedPrefix": "c.d"}},
      {"type": "sigstoreSigned", "keyData": "a2V5", "signedIdentity": {"type": "matchRepository"}}
    ]}}})");

  ASSERT_TRUE(policy) << policy.error().message;
  const auto& found = policy->find(origin("docker", "a.b/c:1")).requirements;
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].type, Requirement::Type::kSignedBy);
  EXPECT_THAT(found[0].key_paths, ElementsAre("/k1", "/k2"));
  EXPECT_EQ(found[0].identity.rule, SignedIdentity::Rule::kRemapIdentity);
  EXPECT_EQ(found[0].identity.signed_prefix, "c.d");
  EXPECT_THAT(found[1].key_data, ElementsAre("key"));
}

TEST(Policy, TakesTheMostSpecificScope) {
  const auto policy = Policy::parse(R"({"default": [{"type": "reject"}], "transports": {"docker": {
    "": [{"type": "reject"}],
    "*.example.com": [{"type": "reject"}],
    "r.example.com:5000": [{"type": "reject"}],
    "r.example.com:5000/ns": [{"type": "reject"}],
    "r.example.com:5000/ns/app": [{"type": "reject"}],
    "r.example.com:5000/ns/app:1": [{"type": "reject"}]}}})");
  ASSERT_TRUE(policy) << policy.error().message;
  const auto scope = [&](const char* name, const char* transport = "docker") {
    return policy->find(origin(transport, name)).scope;
  };

  EXPECT_EQ(scope("r.example.com:5000/ns/app:1"),
            "scope \"r.example.com:5000/ns/app:1\" of transport \"docker\"");
  EXPECT_THAT(scope("r.example.com:5000/ns/app:2"), HasSubstr("\"r.example.com:5000/ns/app\""));
  EXPECT_THAT(scope("r.example.com:5000/ns/other:1"), HasSubstr("\"r.example.com:5000/ns\""));
  EXPECT_THAT(scope("r.example.com:5000/x:1"), HasSubstr("\"r.example.com:5000\""));
  EXPECT_THAT(scope("r.example.com/x:1"), HasSubstr("\"*.example.com\""));
  EXPECT_EQ(scope("other.org/x:1"), "the default of transport \"docker\"");
  EXPECT_EQ(scope("r.example.com:5000/ns/app:1", "docker-archive"), "the default");
}

TEST(Policy, NamesScopesFromTheTagToTheDomain) {
  EXPECT_THAT(scopes_of(origin("docker", "busybox:1")),
              ElementsAre("docker.io/library/busybox:1", "docker.io/library/busybox",
                          "docker.io/library", "docker.io", "*.io"));
  EXPECT_THAT(scopes_of(origin("docker-archive", "busybox:1")), ElementsAre());
}

TEST(Policy, RefusesUnknownKeysTypesAndDoubles) {
  EXPECT_EQ(error_of(R"({"default":[{"type":"reject"}],"defualt":1})"),
            "signature policy: Unknown key \"defualt\"");
  EXPECT_EQ(error_of(R"({"default":[{"type":"reject"}],"default":[{"type":"reject"}]})"),
            "Duplicate key \"default\"");
  EXPECT_EQ(error_of(R"({"transports":{}})"), "signature policy: Key \"default\" is missing");
  EXPECT_EQ(error_of(R"({"default":[]})"),
            "\"default\": List of verification policy requirements must not be empty");
  EXPECT_THAT(error_of_requirement(R"("type":"rejct")"),
              HasSubstr("Unknown policy requirement type \"rejct\""));
  EXPECT_THAT(error_of_requirement(R"("type":"reject","keyPath":"/k")"),
              HasSubstr("Unknown key \"keyPath\""));
  EXPECT_EQ(error_of("nonsense"), "invalid JSON");
}

TEST(Policy, WantsExactlyOneSourceOfKeys) {
  const std::string gpg = R"("type":"signedBy","keyType":"GPGKeys")";

  EXPECT_THAT(error_of_requirement(gpg), HasSubstr("exactly one of keyPath, keyPaths and keyData"));
  EXPECT_THAT(error_of_requirement(gpg + R"(,"keyPath":"/k","keyData":"a2V5")"),
              HasSubstr("exactly one of"));
  EXPECT_THAT(error_of_requirement(gpg + R"(,"keyData":"?")"), HasSubstr("not base64"));
  EXPECT_EQ(error_of_requirement(gpg + R"(,"keyPath":"/k")"), "");
}

TEST(Policy, SaysWhatThisHostDoesNotSupport) {
  const auto fulcio =
      Policy::parse(R"({"default":[{"type":"sigstoreSigned","fulcio":{"caPath":"/ca"}}]})");

  ASSERT_FALSE(fulcio);
  EXPECT_EQ(fulcio.error().code, base::Code::kNotSupported);
  EXPECT_EQ(
      fulcio.error().message,
      "\"default\": \"fulcio\" (sigstore signatures are checked with public keys only) is not "
      "supported by this host");
  EXPECT_THAT(
      error_of_requirement(R"("type":"sigstoreSigned","keyPath":"/k","rekorPublicKeyPath":"/r")"),
      HasSubstr("rekorPublicKeyPath"));
  EXPECT_THAT(
      error_of_requirement(R"("type":"signedBy","keyType":"X509Certificates","keyPath":"/")"),
      HasSubstr("is not supported by this host"));
}

TEST(Policy, RefusesScopesAndNamesThatCouldNeverMatch) {
  EXPECT_EQ(error_of(R"({"default":[{"type":"reject"}],
                         "transports":{"docker-archive":{"x":[{"type":"reject"}]}}})"),
            "transport \"docker-archive\" does not support any scopes except the default \"\" one");
  EXPECT_THAT(error_of_requirement(R"("type":"sigstoreSigned","keyPath":"/k",
                  "signedIdentity":{"type":"exactReference","dockerReference":"a.b/c"})"),
              HasSubstr("invalid name \"a.b/c\""));
}

TEST(Policy, AcceptsTransportsThatOnlyOtherToolsHave) {
  EXPECT_EQ(error_of(R"({"default":[{"type":"reject"}],
                         "transports":{"atomic":{"x":[{"type":"reject"}]}}})"),
            "");
}

}  // namespace
}  // namespace images
