#include "images/policy/signature_payload.h"

#include "images/policy/strict_json.h"
#include "images/store/values/reference.h"

namespace images {

using nlohmann::json;

namespace {

constexpr std::string_view kSimpleType = "atomic container signature";
constexpr std::string_view kSigstoreType = "cosign container image signature";

/// What a signer adds is not looked at, only its form: simple signing has an object, cosign writes
/// null without annotations.
base::Result<void> check_optional(const json& optional, Signature::Kind kind) {
  if (optional.is_null() && kind == Signature::Kind::kSigstore) return {};
  StrictObject object(optional, "\"optional\"");
  const json* creator = object.find("creator");
  const json* timestamp = object.find("timestamp");
  if (creator && !creator->is_string()) object.fail("\"creator\" is not a string");
  if (timestamp && !timestamp->is_number()) object.fail("\"timestamp\" is not a number");
  if (object.failed()) return object.done();
  return {};
}

}  // namespace

base::Result<SignaturePayload> parse_signature_payload(std::string_view text,
                                                       Signature::Kind kind) {
  const auto parsed = parse_strict_json(text, kMaxSignatureBytes);
  if (!parsed) return parsed.error();
  StrictObject object(*parsed, "signature payload");
  StrictObject critical(object.need("critical"), "\"critical\"");
  const json& optional = object.need("optional");
  RETURN_IF_ERROR(object.done());
  RETURN_IF_ERROR(check_optional(optional, kind));

  const std::string type = critical.need_text("type");
  StrictObject image(critical.need("image"), "\"image\"");
  StrictObject identity(critical.need("identity"), "\"identity\"");
  RETURN_IF_ERROR(critical.done());
  if (type != (kind == Signature::Kind::kSimple ? kSimpleType : kSigstoreType))
    return base::Error{base::Code::kInvalidArgument, "Unrecognized signature type " + type};
  SignaturePayload payload;
  payload.manifest_digest = image.need_text("docker-manifest-digest");
  payload.reference = identity.need_text("docker-reference");
  RETURN_IF_ERROR(image.done());
  RETURN_IF_ERROR(identity.done());
  if (!is_sha256_digest(payload.manifest_digest))
    return base::Error{base::Code::kInvalidArgument,
                       "invalid docker-manifest-digest value \"" + payload.manifest_digest + "\""};
  return payload;
}

}  // namespace images
