#include "images/policy/requirement_check.h"

#include <algorithm>

#include "images/policy/gpg_keyring.h"
#include "images/policy/public_key.h"
#include "images/policy/signature_payload.h"
#include "images/policy/small_file.h"
#include "images/store/values/base64.h"

namespace images {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr std::size_t kMaxKeyBytes = 1u << 20;
constexpr std::size_t kMaxReasons = 4;  // of many bad signatures, in one sentence

Error rejected(std::string why) { return {Code::kPermissionDenied, std::move(why)}; }

Result<std::vector<std::string>> read_keys(const Requirement& requirement) {
  std::vector<std::string> keys = requirement.key_data;
  for (const std::string& path : requirement.key_paths) {
    auto key = read_small_file(path, kMaxKeyBytes);
    if (!key) return std::move(key).error();
    keys.push_back(*std::move(key));
  }
  return keys;
}

/// Gives what a signature says once one of the keys has verified it.
class Verifier {
 public:
  virtual ~Verifier() = default;
  virtual Result<std::string> verify(const Signature& signature) const = 0;
};

class SigstoreVerifier final : public Verifier {
 public:
  explicit SigstoreVerifier(std::vector<PublicKey> keys) : keys_(std::move(keys)) {}

  Result<std::string> verify(const Signature& signature) const override {
    const auto bytes = from_base64(signature.signature);
    if (!bytes) return rejected("cryptographic signature verification failed: not base64");
    for (const PublicKey& key : keys_)
      if (key.verifies(signature.payload, *bytes)) return signature.payload;
    return rejected(
        "cryptographic signature verification failed: it was not made by the required key");
  }

 private:
  std::vector<PublicKey> keys_;
};

class SimpleVerifier final : public Verifier {
 public:
  explicit SimpleVerifier(GpgKeyring keys) : keys_(std::move(keys)) {}
  Result<std::string> verify(const Signature& signature) const override {
    return keys_.open_signed(signature.payload);
  }

 private:
  GpgKeyring keys_;
};

Result<std::unique_ptr<Verifier>> make_verifier(const Requirement& requirement,
                                                const PolicyContext& context) {
  auto data = read_keys(requirement);
  if (!data) return std::move(data).error();
  if (requirement.type == Requirement::Type::kSignedBy) {
    auto ring = GpgKeyring::make(context.scratch, *data);
    if (!ring) return std::move(ring).error();
    return std::unique_ptr<Verifier>(std::make_unique<SimpleVerifier>(*std::move(ring)));
  }
  std::vector<PublicKey> keys;
  for (const std::string& pem : *data) {
    auto key = PublicKey::from_pem(pem);
    if (!key) return base::annotate(std::move(key), "parsing public key");
    keys.push_back(*std::move(key));
  }
  return std::unique_ptr<Verifier>(std::make_unique<SigstoreVerifier>(std::move(keys)));
}

Result<void> check_signature(const Signature& signature, const Verifier& verifier,
                             const SignedIdentity& identity, const Origin& origin) {
  auto text = verifier.verify(signature);
  if (!text) return std::move(text).error();
  const auto payload = parse_signature_payload(*text, signature.kind);
  if (!payload) return rejected(payload.error().message);
  const auto& digests = origin.manifest_digests;
  if (std::find(digests.begin(), digests.end(), payload->manifest_digest) == digests.end())
    return rejected("Signature for digest " + payload->manifest_digest + " does not match");
  if (!matches_identity(identity, origin.reference, payload->reference))
    return rejected("Signature for identity \"" + payload->reference + "\" is not accepted");
  return {};
}

/// One accepted signature is enough.
Result<void> check_signatures(const Requirement& requirement, const Origin& origin,
                              const PolicyContext& context) {
  const auto kind = requirement.type == Requirement::Type::kSignedBy ? Signature::Kind::kSimple
                                                                     : Signature::Kind::kSigstore;
  const auto is_other = [&](const Signature& signature) { return signature.kind != kind; };
  const auto others = std::count_if(origin.signatures.begin(), origin.signatures.end(), is_other);
  if (others == static_cast<std::ptrdiff_t>(origin.signatures.size())) {
    const std::string seen = others == 0 ? "" : " (" + std::to_string(others) + " of another kind)";
    return rejected("A signature was required, but no signature exists" + seen);
  }
  RETURN_IF_ERROR(check_limits(origin.signatures));
  const auto verifier = make_verifier(requirement, context);
  if (!verifier) return verifier.error();
  std::vector<std::string> reasons;
  for (const Signature& signature : origin.signatures) {
    if (is_other(signature)) continue;
    const auto checked = check_signature(signature, **verifier, requirement.identity, origin);
    if (checked) return {};
    reasons.push_back(checked.error().message);
  }
  if (reasons.size() == 1) return rejected(reasons.front());
  std::string all;
  for (std::size_t i = 0; i < std::min(reasons.size(), kMaxReasons); ++i)
    all += (i ? "; " : "") + reasons[i];
  if (reasons.size() > kMaxReasons)
    all += "; and " + std::to_string(reasons.size() - kMaxReasons) + " more";
  return rejected("None of the signatures were accepted, reasons: " + all);
}

Result<void> check_requirement(const Requirement& requirement, const Origin& origin,
                               const PolicyContext& context) {
  switch (requirement.type) {
    case Requirement::Type::kAcceptAnything:
      return {};
    case Requirement::Type::kReject:
      return rejected("Running image " + shown_name(origin) + " is rejected by policy.");
    case Requirement::Type::kSignedBy:
    case Requirement::Type::kSigstoreSigned:
      return check_signatures(requirement, origin, context);
  }
  return rejected("unknown requirement");
}

const char* name_of(Requirement::Type type) {
  switch (type) {
    case Requirement::Type::kAcceptAnything:
      return "insecureAcceptAnything";
    case Requirement::Type::kReject:
      return "reject";
    case Requirement::Type::kSignedBy:
      return "signedBy";
    case Requirement::Type::kSigstoreSigned:
      return "sigstoreSigned";
  }
  return "";
}

}  // namespace

std::string shown_name(const Origin& origin) {
  return origin.transport + ":" + (origin.reference.empty() ? "<none>" : origin.reference);
}

Result<void> check_requirements(const Policy& policy, const Origin& origin,
                                const PolicyContext& context) {
  const Policy::Match match = policy.find(origin);
  for (const Requirement& requirement : match.requirements) {
    const auto checked = check_requirement(requirement, origin, context);
    if (checked) continue;
    return Error{checked.error().code, "Source image rejected: " + checked.error().message + " (" +
                                           shown_name(origin) + ": " + name_of(requirement.type) +
                                           " is required by " + match.scope + " in " +
                                           context.file + ")"};
  }
  return {};
}

}  // namespace images
