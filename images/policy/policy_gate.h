// PolicyGate: asks the signature policy's file about each image that comes in or is about to run.
//
// The file and its keys are read anew for every question, so what an administrator changes counts
// at once; a file that has become unreadable or wrong rejects everything and says so.
// Threads: any; blocks on files and gpg processes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "images/policy/requirement_check.h"
#include "images/policy/signature_source.h"

namespace images {

class PolicyGate final : public Admission {
 public:
  struct Options {
    std::string file;     // containers-policy.json(5)
    std::string scratch;  // a directory for this gate alone; open() empties it
  };
  /// Fails if the policy cannot be read or is not valid: better at start than at the first image.
  static base::Result<std::unique_ptr<PolicyGate>> open(Options options);

  base::Result<void> admit(const Origin& origin) override;

  /// For a pull, once the manifest is known and before a layer is fetched: fetches signatures if
  /// any are needed and checks them. `manifest_digests`: of the image's manifest, and of the index
  /// it was found in, computed from their bytes. The Origin returned is to be kept with the image.
  base::Result<Origin> admit_pull(const Reference& reference,
                                  std::vector<std::string> manifest_digests,
                                  const std::vector<SignatureSource*>& sources);

 private:
  explicit PolicyGate(Options options)
      : context_{std::move(options.file), std::move(options.scratch)} {}
  base::Result<Policy> read() const;

  const PolicyContext context_;
};

}  // namespace images
