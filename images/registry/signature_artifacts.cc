#include "images/registry/signature_artifacts.h"

#include "images/store/json.h"

namespace registry {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr std::string_view kPayloadType = "application/vnd.dev.cosign.simplesigning.v1+json";
constexpr std::string_view kSignature = "dev.cosignproject.cosign/signature";

}  // namespace

Result<std::vector<SignatureLayer>> parse_signature_manifest(std::string_view json) {
  auto manifest = parse_image_manifest(json);
  if (!manifest) return std::move(manifest).error();
  const auto parsed = images::parse_json(json, "invalid manifest");
  if (!parsed) return parsed.error();
  images::JsonObject object(*parsed);
  const auto layers = object.objects("layers");
  std::vector<SignatureLayer> found;
  for (std::size_t i = 0; i < manifest->layers.size() && i < layers.size(); ++i) {
    Descriptor& layer = manifest->layers[i];
    if (layer.media_type != kPayloadType) continue;
    images::JsonObject fields(*layers[i]);
    auto annotations = fields.text_map("annotations");
    if (!fields.ok())
      return Error{Code::kInvalidArgument, "invalid manifest: a signature's annotations"};
    if (found.size() == images::kMaxSignatures)
      return Error{Code::kResourceExhausted,
                   "the image has more than " + std::to_string(found.size()) + " signatures"};
    found.push_back({std::move(layer), std::move(annotations[std::string(kSignature)])});
  }
  return found;
}

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
