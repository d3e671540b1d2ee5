#include "images/policy/policy_gate.h"

#include <algorithm>
#include <filesystem>

#include "images/policy/small_file.h"

namespace images {

namespace fs = std::filesystem;

base::Result<std::unique_ptr<PolicyGate>> PolicyGate::open(Options options) {
  std::error_code error;
  fs::remove_all(options.scratch, error);
  if (!error) fs::create_directories(options.scratch, error);
  if (!error) fs::permissions(options.scratch, fs::perms::owner_all, error);
  if (error) return base::errno_error("make " + options.scratch, error.value());
  std::unique_ptr<PolicyGate> gate(new PolicyGate(std::move(options)));
  if (const auto policy = gate->read(); !policy) return policy.error();
  return gate;
}

base::Result<Policy> PolicyGate::read() const {
  const auto text = read_small_file(context_.file, Policy::kMaxBytes);
  if (!text) return base::annotate(text.error(), "signature policy");
  auto policy = Policy::parse(*text);
  if (!policy)
    return base::annotate(std::move(policy), "invalid policy in \"" + context_.file + "\"");
  return policy;
}

base::Result<void> PolicyGate::admit(const Origin& origin) {
  const auto policy = read();
  if (!policy) return policy.error();
  return check_requirements(*policy, origin, context_);
}

base::Result<Origin> PolicyGate::admit_pull(const Reference& reference,
                                            std::vector<std::string> manifest_digests,
                                            const std::vector<SignatureSource*>& sources) {
  const auto policy = read();
  if (!policy) return policy.error();
  Origin origin{.transport = std::string(kRegistryTransport),
                .reference = full_name(reference),
                .manifest_digests = std::move(manifest_digests),
                .signatures = {}};
  const Policy::Match match = policy->find(origin);
  const bool needed =
      std::any_of(match.requirements.begin(), match.requirements.end(),
                  [](const Requirement& required) { return required.needs_signatures(); });
  if (needed) {
    for (SignatureSource* source : sources)
      for (const std::string& digest : origin.manifest_digests) {
        auto found = source->signatures(reference, digest);
        if (!found)
          return base::annotate(std::move(found),
                                "Source image rejected: its signatures cannot be read");
        for (Signature& signature : *found) origin.signatures.push_back(std::move(signature));
        RETURN_IF_ERROR(check_limits(origin.signatures));
      }
  }
  RETURN_IF_ERROR(check_requirements(*policy, origin, context_));
  return origin;
}

}  // namespace images
