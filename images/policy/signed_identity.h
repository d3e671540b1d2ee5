// SignedIdentity: which name a signature must claim to count for an image.
//
// Spec: containers-policy.json(5), "signedIdentity". A pure function without errors: names that
// cannot be compared do not match.
#pragma once

#include <string>

#include "images/store/values/reference.h"

namespace images {

struct SignedIdentity {
  enum class Rule {
    kMatchExact,
    kMatchRepoDigestOrExact,  // the default
    kMatchRepository,
    kExactReference,
    kExactRepository,
    kRemapIdentity,
  };
  Rule rule = Rule::kMatchRepoDigestOrExact;
  std::string name;           // dockerReference, dockerRepository or prefix
  std::string signed_prefix;  // of kRemapIdentity
};

/// Whether a signature that claims to be for `claimed` counts for the image known as `image`
/// (which may be empty).
bool matches_identity(const SignedIdentity& identity, const std::string& image,
                      const std::string& claimed);

}  // namespace images
