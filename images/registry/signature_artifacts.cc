#include "images/registry/signature_artifacts.h"

namespace registry {

using base::Code;
using base::Error;
using base::Result;

Result<std::vector<images::Signature>> SignatureArtifacts::signatures(
    const images::Reference& /*reference*/, const std::string& manifest_digest) {
  std::string tag = manifest_digest + ".sig";
  tag[tag.find(':')] = '-';
  const auto document = repository_.manifest(tag, stop_);
  if (!document && document.error().code == Code::kNotFound)
    return std::vector<images::Signature>();
  if (!document) return document.error();
  const auto layers = parse_signature_manifest(document->bytes);
  if (!layers) return base::annotate(layers.error(), tag);
  std::vector<images::Signature> found;
  for (const SignatureLayer& layer : *layers) {
    if (layer.payload.size > images::kMaxSignatureBytes)
      return Error{Code::kResourceExhausted,
                   "signature " + layer.payload.digest + " is larger than the limit"};
    auto payload = repository_.blob(layer.payload, stop_);
    if (!payload) return std::move(payload).error();
    found.push_back({.kind = images::Signature::Kind::kSigstore,
                     .payload = *std::move(payload),
                     .signature = layer.signature});
  }
  return found;
}

}  // namespace registry
