// The signature policy of a daemon: one gate for what is pulled, what else comes in, and what runs.
#pragma once

#include <filesystem>
#include <memory>

#include "images/registry/registries.h"
#include "images/store/values/origin.h"
#include "vmm/base/result.h"

namespace program {

struct SignaturePolicy {
  std::shared_ptr<images::Admission> for_store;  // null: every image is accepted
  registry::Admission for_pulls;
};

/// `file`: containers-policy.json(5), may be empty. `lookaside`: a directory with signatures of
/// simple signing, may be empty. `scratch`: a directory of its own. Fails if the policy cannot be
/// read or is not valid.
base::Result<SignaturePolicy> open_signature_policy(const std::filesystem::path& file,
                                                    const std::filesystem::path& lookaside,
                                                    const std::filesystem::path& scratch);

}  // namespace program
