// SignatureArtifacts: cosign's signatures of an image, kept in the image's own repository.
//
// Spec: cosign's signature specification: the tag `sha256-<hex>.sig` names a manifest whose layers
// are the payloads, each with its signature in an annotation. images/policy checks the signatures
// and what they claim.
// Threads: one at a time. Trust: the registry is hostile; counts and sizes are bounded.
// Errors: those of Repository. An image without signatures is no Error.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "images/policy/signature_source.h"
#include "images/registry/documents/signature_manifest.h"
#include "images/registry/repository.h"

namespace registry {

class SignatureArtifacts final : public images::SignatureSource {
 public:
  /// `repository` and `stop` outlive it.
  SignatureArtifacts(Repository& repository, const StopSignal& stop)
      : repository_(repository), stop_(stop) {}

  base::Result<std::vector<images::Signature>> signatures(
      const images::Reference& reference, const std::string& manifest_digest) override;

 private:
  Repository& repository_;
  const StopSignal& stop_;
};

}  // namespace registry
