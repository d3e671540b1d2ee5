// Policy: the parsed form of a signature policy file, which says what is required of an image by
// where it comes from.
//
// Spec: containers-policy.json(5). Parsing is strict. Keys are not read here (requirement_check.h).
// Threads: immutable once parsed. Errors: kInvalidArgument; kNotSupported for what the format has
// but this host does not support.
// Trust: the file is the administrator's; the parser is safe for any bytes.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "images/policy/signed_identity.h"
#include "images/store/values/origin.h"
#include "vmm/base/result.h"

namespace images {

struct Requirement {
  enum class Type { kAcceptAnything, kReject, kSignedBy, kSigstoreSigned };
  Type type = Type::kReject;
  std::vector<std::string> key_paths;
  std::vector<std::string> key_data;  // decoded
  SignedIdentity identity;

  bool needs_signatures() const { return type == Type::kSignedBy || type == Type::kSigstoreSigned; }
};

class Policy {
 public:
  static constexpr std::size_t kMaxBytes = 1u << 20;

  static base::Result<Policy> parse(std::string_view text);

  /// The requirements of the most specific scope that has the image.
  struct Match {
    const std::vector<Requirement>& requirements;  // not empty; all must be met
    std::string scope;                             // for people: "scope \"x\" of transport \"y\""
  };
  Match find(const Origin& origin) const;

 private:
  using Requirements = std::vector<Requirement>;

  Requirements default_;
  std::map<std::string, std::map<std::string, Requirements>, std::less<>> transports_;
};

/// The scopes that have this image, the most specific first: its name, repository, the
/// namespaces above it, the host, and wildcards for the host's domains.
std::vector<std::string> scopes_of(const Origin& origin);

}  // namespace images
