// SignatureSource: where an image's signatures are found.
//
// The registry client implements it for sigstore: the manifest of tag `sha256-<hex>.sig` in the
// image's repository, whose layers of type application/vnd.dev.cosign.simplesigning.v1+json are
// payloads, each with its signature in the annotation dev.cosignproject.cosign/signature.
// LookasideDirectory (lookaside_directory.h) is one for simple signing.
// Threads: as the implementation says; calls may block.
#pragma once

#include <string>
#include <vector>

#include "images/store/values/origin.h"
#include "images/store/values/reference.h"
#include "vmm/base/result.h"

namespace images {

class SignatureSource {
 public:
  virtual ~SignatureSource() = default;
  /// All signatures for the manifest of this digest; none is an empty list, not an Error. An
  /// implementation fetches at most kMaxSignatures of kMaxSignatureBytes each.
  virtual base::Result<std::vector<Signature>> signatures(const Reference& reference,
                                                          const std::string& manifest_digest) = 0;
};

}  // namespace images
