// LookasideDirectory: signatures of simple signing in a local directory, as other tools write them:
//   <directory>/<repository without host>@sha256=<hex>/signature-1, signature-2, ...
//
// Spec: containers-registries.d(5), "lookaside" with a file:// URL.
// Threads: any. Trust: the directory is the administrator's, the signatures may be anybody's.
#pragma once

#include "images/policy/signature_source.h"

namespace images {

class LookasideDirectory final : public SignatureSource {
 public:
  explicit LookasideDirectory(std::string directory) : directory_(std::move(directory)) {}
  base::Result<std::vector<Signature>> signatures(const Reference& reference,
                                                  const std::string& manifest_digest) override;

 private:
  const std::string directory_;
};

}  // namespace images
