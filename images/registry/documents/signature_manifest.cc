#include "images/registry/documents/signature_manifest.h"

#include "images/policy/signature_source.h"
#include "images/store/values/json.h"

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
      return Error{Code::kInvalidArgument,
                   "invalid manifest: a signature's annotations are not strings"};
    if (found.size() == images::kMaxSignatures)
      return Error{Code::kResourceExhausted,
                   "the image has more than " + std::to_string(found.size()) + " signatures"};
    found.push_back({std::move(layer), std::move(annotations[std::string(kSignature)])});
  }
  return found;
}

}  // namespace registry
