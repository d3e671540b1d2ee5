#include "images/policy/signature_payload.h"

#include <gtest/gtest.h>

#include "images/policy/testing/signing.h"

namespace images {
namespace {

const std::string kDigest = "sha256:" + std::string(64, 'a');

std::string error_of(const std::string& text, Signature::Kind kind = Signature::Kind::kSigstore) {
  const auto payload = parse_signature_payload(text, kind);
  return payload ? "" : payload.error().message;
}

TEST(SignaturePayload, IsReadInBothForms) {
  const auto sigstore = parse_signature_payload(testing::sigstore_payload(kDigest, "a.b/c"),
                                                Signature::Kind::kSigstore);
  const auto simple = parse_signature_payload(testing::simple_payload(kDigest, "a.b/c:1"),
                                              Signature::Kind::kSimple);

  ASSERT_TRUE(sigstore) << sigstore.error().message;
  ASSERT_TRUE(simple) << simple.error().message;
  EXPECT_EQ(sigstore->manifest_digest, kDigest);
  EXPECT_EQ(simple->reference, "a.b/c:1");
}

TEST(SignaturePayload, OfOneKindDoesNotPassForTheOther) {
  EXPECT_EQ(error_of(testing::simple_payload(kDigest, "a.b/c:1")),
            "Unrecognized signature type atomic container signature");
  EXPECT_NE(error_of(testing::sigstore_payload(kDigest, "a.b/c"), Signature::Kind::kSimple), "");
}

TEST(SignaturePayload, WithAnUnknownOrDoubleKeyIsRefused) {
  std::string text = testing::simple_payload(kDigest, "a.b/c:1");
  auto json = nlohmann::json::parse(text);
  json["critical"]["more"] = 1;
  const auto kind = Signature::Kind::kSimple;

  EXPECT_EQ(error_of(json.dump(), kind), "\"critical\": Unknown key \"more\"");
  text.insert(1, R"("optional":{},)");
  EXPECT_EQ(error_of(text, kind), "Duplicate key \"optional\"");
}

TEST(SignaturePayload, WithoutAProperDigestIsRefused) {
  EXPECT_EQ(error_of(testing::sigstore_payload("sha256:12", "a.b/c")),
            "invalid docker-manifest-digest value \"sha256:12\"");
}

TEST(SignaturePayload, ThatIsTooLargeOrDeepIsRefused) {
  EXPECT_EQ(error_of(testing::sigstore_payload(kDigest, std::string(70'000, 'a'))),
            "larger than 65536 bytes");
  EXPECT_EQ(error_of("{\"optional\":" + std::string(1000, '[') + std::string(1000, ']') + "}"),
            "nested too deeply");
}

}  // namespace
}  // namespace images
