#include "api/program/signature_policy.h"

#include <string>
#include <vector>

#include "images/policy/lookaside_directory.h"
#include "images/policy/policy_gate.h"
#include "images/registry/signature_artifacts.h"

namespace program {

base::Result<SignaturePolicy> open_signature_policy(const std::filesystem::path& file,
                                                    const std::filesystem::path& lookaside,
                                                    const std::filesystem::path& scratch) {
  if (file.empty()) return SignaturePolicy();
  auto opened = images::PolicyGate::open({.file = file.string(), .scratch = scratch.string()});
  if (!opened) return std::move(opened).error();
  const std::shared_ptr<images::PolicyGate> gate = *std::move(opened);
  const auto ask = [gate, directory = lookaside.string()](
                       const images::Reference& reference, std::vector<std::string> digests,
                       registry::Repository& repository, const registry::StopSignal& stop) {
    registry::SignatureArtifacts artifacts(repository, stop);
    images::LookasideDirectory stored(directory);
    std::vector<images::SignatureSource*> sources{&artifacts};
    if (!directory.empty()) sources.push_back(&stored);
    return gate->admit_pull(reference, std::move(digests), sources);
  };
  return SignaturePolicy{.for_store = gate, .for_pulls = ask};
}

}  // namespace program
