// parse_signature_manifest(): reads the manifest that names an image's signatures (cosign's
// signature specification). Trust: the JSON comes from a registry; their number is bounded.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "images/registry/documents/manifest.h"

namespace registry {

struct SignatureLayer {
  Descriptor payload;
  std::string signature;  // base64
};

/// The signatures that a manifest names; layers of other kinds are passed over.
base::Result<std::vector<SignatureLayer>> parse_signature_manifest(std::string_view json);

}  // namespace registry
