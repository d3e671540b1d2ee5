// check_requirements(): whether an image of some origin meets a policy.
//
// Threads: any; blocks on key files and gpg processes. Errors: kPermissionDenied with the reason
// ("Source image rejected: ...", what was required and by which scope), kInvalidArgument and others
// for keys that cannot be read: those reject, too.
#pragma once

#include <string>

#include "images/policy/policy.h"

namespace images {

struct PolicyContext {
  std::string file;     // the policy's, shown in errors
  std::string scratch;  // a directory for keyrings, writable by this process alone
};

base::Result<void> check_requirements(const Policy& policy, const Origin& origin,
                                      const PolicyContext& context);

/// "docker:docker.io/library/busybox:latest": how sentences name the image.
std::string shown_name(const Origin& origin);

}  // namespace images
