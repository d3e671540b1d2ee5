#include "images/store/values/origin.h"

#include <nlohmann/json.hpp>

#include "images/store/values/base64.h"

namespace images {

using nlohmann::json;

namespace {

constexpr std::string_view kSimple = "simple";
constexpr std::string_view kSigstore = "sigstore";

json to_json(const Signature& signature) {
  return {{"kind", signature.kind == Signature::Kind::kSimple ? kSimple : kSigstore},
          {"payload", to_base64(signature.payload)},
          {"signature", to_base64(signature.signature)}};
}

std::string decoded(const json& text) {
  return from_base64(text.get<std::string>()).value_or(std::string());
}

}  // namespace

base::Result<void> check_limits(const std::vector<Signature>& signatures) {
  if (signatures.size() > kMaxSignatures)
    return base::Error{base::Code::kResourceExhausted,
                       "the image has more than " + std::to_string(kMaxSignatures) + " signatures"};
  for (const Signature& signature : signatures)
    if (signature.payload.size() + signature.signature.size() > kMaxSignatureBytes)
      return base::Error{base::Code::kResourceExhausted,
                         "a signature of the image is larger than " +
                             std::to_string(kMaxSignatureBytes >> 10) + " KiB"};
  return {};
}

std::string to_text(const Origin& origin) {
  json signatures = json::array();
  for (const Signature& signature : origin.signatures) signatures.push_back(to_json(signature));
  return json({{"transport", origin.transport},
               {"reference", origin.reference},
               {"manifests", origin.manifest_digests},
               {"signatures", std::move(signatures)}})
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

base::Result<Origin> origin_from_text(const std::string& text) try {
  const json record = json::parse(text);
  Origin origin{.transport = record.at("transport"),
                .reference = record.at("reference"),
                .manifest_digests = record.at("manifests"),
                .signatures = {}};
  for (const json& entry : record.at("signatures"))
    origin.signatures.push_back({.kind = entry.at("kind") == kSimple ? Signature::Kind::kSimple
                                                                     : Signature::Kind::kSigstore,
                                 .payload = decoded(entry.at("payload")),
                                 .signature = decoded(entry.at("signature"))});
  return origin;
} catch (const json::exception&) {
  return base::Error{base::Code::kDataLoss, "image database: a damaged origin"};
}

}  // namespace images
