#include "images/policy/requirement_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "images/policy/lookaside_directory.h"
#include "images/policy/policy_gate.h"
#include "images/policy/testing/signing.h"

namespace images {
namespace {

using base::Code;
using nlohmann::json;
using testing::GpgKey;
using ::testing::HasSubstr;
using testing::OpensslKey;
using testing::sigstore_payload;
using testing::simple_payload;
using ::testing::StartsWith;

const std::string kDigest = "sha256:" + std::string(64, 'a');
const std::string kOtherDigest = "sha256:" + std::string(64, 'b');
const std::string kName = "reg.example/app:1";

/// A source that is there already.
class GivenSignatures final : public SignatureSource {
 public:
  explicit GivenSignatures(std::vector<Signature> given) : given_(std::move(given)) {}
  base::Result<std::vector<Signature>> signatures(const Reference&, const std::string&) override {
    ++asked;
    return given_;
  }
  int asked = 0;

 private:
  std::vector<Signature> given_;
};

class RequirementCheckTest : public ::testing::Test {
 protected:
  RequirementCheckTest() { std::filesystem::create_directory(directory_ / "scratch"); }

  static Origin origin(std::vector<Signature> signatures) {
    return {.transport = "docker",
            .reference = kName,
            .manifest_digests = {kDigest},
            .signatures = std::move(signatures)};
  }

  static json policy(const json& requirements) {
    return {{"default", json::array({{{"type", "reject"}}})},
            {"transports", {{"docker", {{"reg.example", requirements}}}}}};
  }
  static json sigstore_policy(const std::string& key, const std::string& rule = "matchRepository") {
    return policy(json::array(
        {{{"type", "sigstoreSigned"}, {"keyPath", key}, {"signedIdentity", {{"type", rule}}}}}));
  }
  static json simple_policy(const std::string& key) {
    return policy(json::array({{{"type", "signedBy"}, {"keyType", "GPGKeys"}, {"keyPath", key}}}));
  }

  base::Result<void> check(const json& policy, const Origin& origin) {
    const auto parsed = Policy::parse(policy.dump());
    if (!parsed) return parsed.error();
    return check_requirements(*parsed, origin, context());
  }
  std::string rejection(const json& policy, const Origin& origin) {
    const auto checked = check(policy, origin);
    return checked ? "accepted" : checked.error().message;
  }
  PolicyContext context() const { return {"/etc/policy.json", directory_ / "scratch"}; }
  std::unique_ptr<PolicyGate> open_gate(const json& policy) {
    testing::write_to(directory_ / "policy.json", policy.dump());
    auto gate = PolicyGate::open({directory_ / "policy.json", directory_ / "scratch"});
    EXPECT_TRUE(gate) << gate.error().message;
    return *std::move(gate);
  }

  testing::TemporaryDirectory directory_;
};

TEST_F(RequirementCheckTest, AcceptsOrRejectsAnythingAsThePolicySays) {
  EXPECT_TRUE(check(policy(json::array({{{"type", "insecureAcceptAnything"}}})), origin({})));
  const auto rejected = check(policy(json::array({{{"type", "reject"}}})), origin({}));

  ASSERT_FALSE(rejected);
  EXPECT_EQ(rejected.error().code, Code::kPermissionDenied);
  EXPECT_EQ(rejected.error().message,
            "Source image rejected: Running image docker:reg.example/app:1 is rejected by policy. "
            "(docker:reg.example/app:1: reject is required by scope \"reg.example\" of transport "
            "\"docker\" in /etc/policy.json)");
}

TEST_F(RequirementCheckTest, RejectsAnImageWithoutSignature) {
  const OpensslKey key;

  EXPECT_THAT(rejection(sigstore_policy(key.public_path()), origin({})),
              StartsWith("Source image rejected: A signature was required, but no signature exists "
                         "(docker:reg.example/app:1: sigstoreSigned is required by"));
}

TEST_F(RequirementCheckTest, AcceptsSigstoreSignaturesOfEveryKindOfKey) {
  const std::string payload = sigstore_payload(kDigest, "reg.example/app");
  const OpensslKey ecdsa;
  const OpensslKey rsa("-algorithm RSA -pkeyopt rsa_keygen_bits:2048");
  const OpensslKey ed25519("-algorithm ED25519");

  EXPECT_EQ(rejection(sigstore_policy(ecdsa.public_path()), origin({ecdsa.sign(payload)})),
            "accepted");
  EXPECT_EQ(rejection(sigstore_policy(rsa.public_path()), origin({rsa.sign(payload)})), "accepted");
  EXPECT_EQ(
      rejection(sigstore_policy(ed25519.public_path()), origin({ed25519.sign(payload, true)})),
      "accepted");
}

TEST_F(RequirementCheckTest, RejectsAForeignKeyATamperedPayloadAndABrokenSignature) {
  const OpensslKey key;
  const OpensslKey foreign;
  const Signature good = key.sign(sigstore_payload(kDigest, "reg.example/app"));
  Signature tampered = good;
  tampered.payload.replace(tampered.payload.find("reg.example"), 3, "bad");
  Signature broken = good;
  broken.signature = "not base64";
  Signature empty = good;
  empty.signature.clear();

  for (const Signature& bad : {foreign.sign(good.payload), tampered, broken, empty})
    EXPECT_THAT(rejection(sigstore_policy(key.public_path()), origin({bad})),
                HasSubstr("cryptographic signature verification failed"));
}

TEST_F(RequirementCheckTest, RejectsASignatureForAnotherDigestOrIdentity) {
  const OpensslKey key;
  const json required = sigstore_policy(key.public_path());

  EXPECT_THAT(
      rejection(required, origin({key.sign(sigstore_payload(kOtherDigest, "reg.example/app"))})),
      HasSubstr("Signature for digest " + kOtherDigest + " does not match"));
  EXPECT_THAT(
      rejection(required, origin({key.sign(sigstore_payload(kDigest, "reg.example/other"))})),
      HasSubstr("Signature for identity \"reg.example/other\" is not accepted"));
  EXPECT_THAT(rejection(sigstore_policy(key.public_path(), "matchExact"),
                        origin({key.sign(sigstore_payload(kDigest, "reg.example/app"))})),
              HasSubstr("Signature for identity"));
}

TEST_F(RequirementCheckTest, OneGoodSignatureAmongBadOnesIsEnough) {
  const OpensslKey key;
  const OpensslKey foreign;
  const std::string payload = sigstore_payload(kDigest, "reg.example/app");
  const json required = sigstore_policy(key.public_path());

  EXPECT_EQ(rejection(required, origin({foreign.sign(payload), key.sign(payload)})), "accepted");
  EXPECT_THAT(rejection(required, origin({foreign.sign(payload), foreign.sign(payload)})),
              HasSubstr("None of the signatures were accepted, reasons: "));
}

TEST_F(RequirementCheckTest, ASignatureOfTheIndexCountsForTheImageInIt) {
  const OpensslKey key;
  Origin image = origin({key.sign(sigstore_payload(kOtherDigest, "reg.example/app"))});
  image.manifest_digests = {kDigest, kOtherDigest};

  EXPECT_EQ(rejection(sigstore_policy(key.public_path()), image), "accepted");
}

TEST_F(RequirementCheckTest, RefusesTooManyAndTooLargeSignatures) {
  const OpensslKey key;
  const Signature small{.kind = Signature::Kind::kSigstore, .payload = "x", .signature = "eA=="};
  Signature large = small;
  large.payload.resize(kMaxSignatureBytes);
  const json required = sigstore_policy(key.public_path());

  EXPECT_FALSE(check(required, origin(std::vector<Signature>(kMaxSignatures + 1, small))));
  EXPECT_THAT(rejection(required, origin({large})), HasSubstr("is larger than 64 KiB"));
}

TEST_F(RequirementCheckTest, RefusesKeysThatAreTooWeakOrNone) {
  const OpensslKey weak("-algorithm RSA -pkeyopt rsa_keygen_bits:1024");
  const Signature signature = weak.sign(sigstore_payload(kDigest, "reg.example/app"));

  EXPECT_THAT(rejection(sigstore_policy(weak.public_path()), origin({signature})),
              HasSubstr("not an ECDSA P-256, RSA (2048 bits or more) or Ed25519 key"));
  EXPECT_THAT(rejection(sigstore_policy("/nowhere/key"), origin({signature})),
              HasSubstr("open /nowhere/key"));
  EXPECT_THAT(rejection(sigstore_policy("/dev/null"), origin({signature})),
              HasSubstr("not a regular file"));
}

TEST_F(RequirementCheckTest, AcceptsASimpleSignature) {
  const GpgKey key;

  EXPECT_EQ(rejection(simple_policy(key.public_path()),
                      origin({key.sign(simple_payload(kDigest, kName))})),
            "accepted");
  EXPECT_TRUE(std::filesystem::is_empty(directory_ / "scratch"));
}

TEST_F(RequirementCheckTest, RejectsSimpleSignaturesThatDoNotCount) {
  const GpgKey key;
  const GpgKey foreign;
  const json required = simple_policy(key.public_path());
  Signature tampered = key.sign(simple_payload(kDigest, kName));
  tampered.payload[tampered.payload.size() / 2] ^= 0x20;

  EXPECT_THAT(rejection(required, origin({foreign.sign(simple_payload(kDigest, kName))})),
              HasSubstr("is not accepted"));
  EXPECT_THAT(rejection(required, origin({tampered})), StartsWith("Source image rejected: "));
  EXPECT_THAT(rejection(required, origin({key.sign(simple_payload(kOtherDigest, kName))})),
              HasSubstr("does not match"));
  EXPECT_THAT(rejection(required, origin({key.sign(simple_payload(kDigest, "reg.example/app:2"))})),
              HasSubstr("Signature for identity \"reg.example/app:2\" is not accepted"));
  EXPECT_THAT(rejection(required, origin({key.sign("not JSON")})), HasSubstr("invalid JSON"));
  const Signature nonsense{
      .kind = Signature::Kind::kSimple, .payload = std::string(1000, 'x'), .signature = {}};
  EXPECT_THAT(rejection(required, origin({nonsense})), HasSubstr("Invalid GPG signature"));
}

TEST_F(RequirementCheckTest, RejectsASignatureByAKeyThatHasExpired) {
  const GpgKey expired("1d", "20200101T000000");
  const Signature signature = expired.sign(simple_payload(kDigest, kName));

  EXPECT_THAT(rejection(simple_policy(expired.public_path()), origin({signature})),
              HasSubstr("Invalid GPG signature by key"));
}

TEST_F(RequirementCheckTest, BoundsWhatACompressedMessageBecomes) {
  const GpgKey key;
  const Signature bomb = key.sign(std::string(20u << 20, ' '));
  ASSERT_LT(bomb.payload.size(), kMaxSignatureBytes);

  EXPECT_THAT(rejection(simple_policy(key.public_path()), origin({bomb})),
              StartsWith("Source image rejected: "));
}

TEST_F(RequirementCheckTest, AllRequirementsMustBeMet) {
  const OpensslKey key;
  const GpgKey gpg;
  const json both = policy(
      json::array({{{"type", "signedBy"}, {"keyType", "GPGKeys"}, {"keyPath", gpg.public_path()}},
                   {{"type", "sigstoreSigned"},
                    {"keyPath", key.public_path()},
                    {"signedIdentity", {{"type", "matchRepository"}}}}}));
  const Signature sigstore = key.sign(sigstore_payload(kDigest, "reg.example/app"));
  const Signature simple = gpg.sign(simple_payload(kDigest, kName));

  EXPECT_EQ(rejection(both, origin({sigstore, simple})), "accepted");
  EXPECT_THAT(rejection(both, origin({sigstore})),
              HasSubstr("no signature exists (1 of another kind)"));
}

TEST_F(RequirementCheckTest, APullFetchesSignaturesOnlyWhereTheyAreNeeded) {
  const OpensslKey key;
  GivenSignatures source({key.sign(sigstore_payload(kDigest, "reg.example/app"))});
  const auto gate = open_gate(sigstore_policy(key.public_path()));

  const auto wanted = gate->admit_pull(*Reference::parse(kName), {kDigest}, {&source});
  ASSERT_TRUE(wanted) << wanted.error().message;
  EXPECT_EQ(wanted->signatures.size(), 1u);
  const auto other = gate->admit_pull(*Reference::parse("other.org/x:1"), {kDigest}, {&source});
  EXPECT_FALSE(other);
  EXPECT_EQ(source.asked, 1);
}

TEST_F(RequirementCheckTest, AChangedPolicyCountsAtOnce) {
  const OpensslKey key;
  const OpensslKey other;
  const auto gate = open_gate(sigstore_policy(key.public_path()));
  const Origin image = origin({key.sign(sigstore_payload(kDigest, "reg.example/app"))});
  ASSERT_TRUE(gate->admit(image));

  testing::write_to(directory_ / "policy.json", sigstore_policy(other.public_path()).dump());
  EXPECT_FALSE(gate->admit(image));
  testing::write_to(directory_ / "policy.json", "{");
  const auto broken = gate->admit(image);

  ASSERT_FALSE(broken);
  EXPECT_THAT(broken.error().message, HasSubstr("invalid policy in \""));
}

TEST_F(RequirementCheckTest, FindsSimpleSignaturesInALookasideDirectory) {
  const GpgKey key;
  const std::string place = directory_ / ("app@sha256=" + std::string(64, 'a'));
  std::filesystem::create_directories(place);
  testing::write_to(place + "/signature-1", key.sign(simple_payload(kOtherDigest, kName)).payload);
  testing::write_to(place + "/signature-2", key.sign(simple_payload(kDigest, kName)).payload);
  LookasideDirectory source(directory_.path());
  const auto gate = open_gate(simple_policy(key.public_path()));

  const auto admitted = gate->admit_pull(*Reference::parse(kName), {kDigest}, {&source});

  ASSERT_TRUE(admitted) << admitted.error().message;
  EXPECT_EQ(admitted->signatures.size(), 2u);
  EXPECT_FALSE(gate->admit_pull(*Reference::parse(kName), {kOtherDigest + "x"}, {&source}));
}

TEST_F(RequirementCheckTest, AnOriginSurvivesTheDatabase) {
  Origin image =
      origin({{.kind = Signature::Kind::kSimple,
               .payload = std::string("\x00\xff\x80", 3),
               .signature = {}},
              {.kind = Signature::Kind::kSigstore, .payload = "p", .signature = "cw=="}});

  const auto again = origin_from_text(to_text(image));

  ASSERT_TRUE(again);
  EXPECT_EQ(again->reference, image.reference);
  ASSERT_EQ(again->signatures.size(), 2u);
  EXPECT_EQ(again->signatures[0].payload, image.signatures[0].payload);
  EXPECT_EQ(again->signatures[1].signature, "cw==");
  EXPECT_FALSE(origin_from_text("{}"));
}

}  // namespace
}  // namespace images
