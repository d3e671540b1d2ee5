#include <gtest/gtest.h>

#include "images/registry/documents/challenge.h"
#include "images/registry/documents/credentials.h"
#include "images/registry/documents/manifest.h"
#include "images/registry/documents/url.h"
#include "images/registry/http/retry.h"
#include "images/registry/http/settings.h"
#include "images/store/values/base64.h"

namespace registry {
namespace {

using base::Code;

const std::string kDigest = "sha256:" + std::string(64, 'a');

std::string image_manifest(const std::string& layer_type, const std::string& size = "1") {
  return R"({"schemaVersion":2,"config":{"mediaType":")" + std::string(media::kOciConfig) +
         R"(","digest":")" + kDigest + R"(","size":2},"layers":[{"mediaType":")" + layer_type +
         R"(","digest":")" + kDigest + R"(","size":)" + size + "}]}";
}

TEST(ChallengeTest, ReadsABearerChallengeWithACommaInItsScope) {
  const auto challenges = parse_challenges(
      R"(Bearer realm="https://auth/token",service="reg",scope="repository:a:pull,push")");

  ASSERT_EQ(challenges.size(), 1u);
  EXPECT_EQ(challenges[0].scheme, "bearer");
  EXPECT_EQ(challenges[0].parameter("realm"), "https://auth/token");
  EXPECT_EQ(challenges[0].parameter("scope"), "repository:a:pull,push");
}

TEST(ChallengeTest, ReadsSeveralChallengesInOneHeader) {
  const auto challenges = parse_challenges(R"(Negotiate, Basic realm="a \"b\"", Bearer realm=x)");

  ASSERT_EQ(challenges.size(), 3u);
  EXPECT_EQ(challenges[1].parameter("realm"), "a \"b\"");
  EXPECT_EQ(challenges[2].scheme, "bearer");
}

TEST(ChallengeTest, PassesOverWhatIsNoChallenge) {
  EXPECT_TRUE(parse_challenges(",, =\"").empty());
  EXPECT_EQ(parse_challenges("Basic realm=\"never closed").at(0).parameter("realm"), "");
}

TEST(CredentialsTest, ReadsEitherAlphabetOfBase64) {
  const auto credentials =
      parse_auth_header(images::to_base64(R"({"username":"me","password":"?>"})"));

  ASSERT_TRUE(credentials);
  EXPECT_EQ(credentials->username, "me");
  EXPECT_EQ(credentials->password, "?>");
}

TEST(CredentialsTest, ReadsNameAndPasswordFromTheAuthField) {
  const auto credentials = parse_credentials(R"({"auth":")" + images::to_base64("me:a:b") + "\"}");

  ASSERT_TRUE(credentials);
  EXPECT_EQ(credentials->username, "me");
  EXPECT_EQ(credentials->password, "a:b");
}

TEST(CredentialsTest, RefusesWhatIsNoAuthConfig) {
  EXPECT_EQ(parse_auth_header("!!!").error().code, Code::kInvalidArgument);
  EXPECT_FALSE(parse_credentials(R"({"username":1})"));
  EXPECT_FALSE(parse_credentials(R"({"registrytoken":"a\r\nHost: b"})"));
  EXPECT_TRUE(parse_auth_header(""));
  EXPECT_TRUE(parse_auth_header(images::to_base64("null")));
}

TEST(UrlTest, ResolvesTheLocationsThatRegistriesSend) {
  const auto base = Url::parse("http://host:5000/v2/a/blobs/uploads/");

  EXPECT_EQ(base->resolve("/v2/x?y=1")->text(), "http://host:5000/v2/x?y=1");
  EXPECT_EQ(base->resolve("https://other/z")->text(), "https://other/z");
  EXPECT_EQ(base->resolve("id?state=1")->text(), "http://host:5000/v2/a/blobs/uploads/id?state=1");
  EXPECT_EQ(base->resolve("//other:1/z")->text(), "http://other:1/z");
}

TEST(UrlTest, RefusesOtherSchemesAndControlCharacters) {
  EXPECT_FALSE(Url::parse("ftp://host/"));
  EXPECT_FALSE(Url::parse("http://user@host/"));
  EXPECT_FALSE(Url::parse("http://host:99999/"));
  EXPECT_FALSE(Url::parse("http://host/a\r\nb"));
  EXPECT_FALSE(Url::parse("http://host/")->resolve("file:/etc/passwd"));
}

TEST(ManifestTest, RefusesForeignLayers) {
  const auto manifest = parse_image_manifest(
      image_manifest("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"));

  EXPECT_EQ(manifest.error().code, Code::kNotSupported);
}

TEST(ManifestTest, RefusesImpossibleSizesAndDigests) {
  const std::string type(media::kOciGzipLayer);

  EXPECT_TRUE(parse_image_manifest(image_manifest(type)));
  EXPECT_FALSE(parse_image_manifest(image_manifest(type, "-1")));
  EXPECT_FALSE(parse_image_manifest(image_manifest(type, "99999999999999")));
  EXPECT_FALSE(parse_image_manifest(image_manifest(type, "1.5")));
  EXPECT_FALSE(parse_image_manifest(R"({"config":{"digest":"md5:1","size":1}})"));
}

TEST(ManifestTest, RefusesADocumentThatIsTwoThings) {
  EXPECT_FALSE(parse_index(R"({"manifests":[],"layers":[]})"));
  EXPECT_FALSE(parse_image_manifest(R"({"manifests":[],"config":{}})"));
  EXPECT_FALSE(kind_of(media::kOciManifest,
                       R"({"mediaType":")" + std::string(media::kOciIndex) + "\"}", "x"));
}

TEST(ManifestTest, ChoosesThePlainVariantOfAPlatform) {
  const auto entry = [](const char* architecture, const char* variant) {
    return Descriptor{.media_type = std::string(media::kOciManifest),
                      .digest = variant,
                      .size = 1,
                      .platform = Platform{"linux", architecture, variant}};
  };
  const std::vector<Descriptor> entries{entry("amd64", "v3"), entry("amd64", ""),
                                        entry("arm", "v6"), entry("arm", "v7")};

  EXPECT_EQ(choose_platform(entries, *Platform::parse("linux/amd64"))->digest, "");
  EXPECT_EQ(choose_platform(entries, *Platform::parse("linux/arm/v7"))->digest, "v7");
  EXPECT_EQ(choose_platform(entries, *Platform::parse("linux/s390x")).error().message,
            "no matching manifest for linux/s390x in the manifest list entries");
}

TEST(SettingsTest, TakesTheLoopbackAndWhatIsNamedForInsecure) {
  const auto settings = Settings::make(
      {.insecure = {"10.0.0.0/8", "reg.example:5000"}, .mirrors = {}, .certificates = "none"});

  ASSERT_TRUE(settings);
  EXPECT_TRUE(settings->is_insecure("127.0.0.1:5000"));
  EXPECT_TRUE(settings->is_insecure("10.1.2.3"));
  EXPECT_TRUE(settings->is_insecure("reg.example:5000"));
  EXPECT_FALSE(settings->is_insecure("11.0.0.1:5000"));
  EXPECT_FALSE(settings->is_insecure("docker.io"));
  EXPECT_EQ(settings->endpoints("127.0.0.1:1", true)->size(), 2u);
  EXPECT_EQ(settings->endpoints("11.0.0.1", true)->size(), 1u);
}

TEST(SettingsTest, AsksMirrorsFirstAndForPullsOnly) {
  const auto settings = Settings::make(
      {.insecure = {}, .mirrors = {"http://127.0.0.1:5000"}, .certificates = "none"});

  ASSERT_TRUE(settings);
  EXPECT_EQ(settings->mirrors(), std::vector<std::string>{"http://127.0.0.1:5000/"});
  EXPECT_TRUE(settings->endpoints("docker.io", true)->front().is_mirror);
  EXPECT_EQ(settings->endpoints("docker.io", false)->size(), 1u);
}

TEST(SettingsTest, RefusesWhatIsNoMirrorOrHost) {
  EXPECT_FALSE(Settings::make({.insecure = {}, .mirrors = {"ftp://a"}, .certificates = ""}));
  EXPECT_FALSE(Settings::make({.insecure = {}, .mirrors = {"http://a/b"}, .certificates = ""}));
  EXPECT_FALSE(Settings::make({.insecure = {"a/b"}, .mirrors = {}, .certificates = ""}));
  EXPECT_FALSE(Settings::make({})->endpoints("..", true));
}

TEST(RetryTest, WaitsLongerEachTimeAndAsLongAsItIsAsked) {
  const RetryPolicy policy;

  EXPECT_LE(retry_delay(policy, 1, ""), policy.first_delay);
  EXPECT_GE(retry_delay(policy, 4, ""), policy.first_delay * 4);
  EXPECT_EQ(retry_delay(policy, 1, "7"), std::chrono::seconds(7));
  EXPECT_EQ(retry_delay(policy, 1, "99999999999"), policy.max_asked_delay);
  EXPECT_LE(retry_delay(policy, 30, "soon"), policy.max_delay);
}

}  // namespace
}  // namespace registry
