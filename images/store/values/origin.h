// Origin: where an image came from, and its signatures. It is kept with the image, so that the
// signature policy can be asked again whenever the image is about to run.
//
// Trust: references and signatures come from registries and clients; nothing here has been
// verified.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"

namespace images {

/// The transports of containers-policy.json(5) by which images come here.
inline constexpr std::string_view kRegistryTransport = "docker";         // pull
inline constexpr std::string_view kArchiveTransport = "docker-archive";  // load
inline constexpr std::string_view kTarballTransport = "tarball";         // import
inline constexpr std::string_view kLocalTransport = "docker-daemon";     // commit, build, unknown

/// The most signatures of an image, and bytes of one: check_limits().
inline constexpr std::size_t kMaxSignatures = 64;
inline constexpr std::size_t kMaxSignatureBytes = 64u << 10;

struct Signature {
  enum class Kind {
    kSimple,    // simple signing: `payload` is an OpenPGP message that contains what was signed
    kSigstore,  // `payload` is what was signed, `signature` its detached signature in base64
  };
  Kind kind = Kind::kSimple;
  std::string payload;
  std::string signature;
};

struct Origin {
  std::string transport{kLocalTransport};
  std::string reference;  // "docker.io/library/busybox:latest"; empty if it came without a name
  /// Of the image's manifest, and of the index through which it was found, if any: a signature for
  /// one of them is one for the image. Empty where there was no registry.
  std::vector<std::string> manifest_digests;
  std::vector<Signature> signatures;
};

/// kResourceExhausted if there are too many signatures, or one is too large.
base::Result<void> check_limits(const std::vector<Signature>& signatures);

/// For the database. kDataLoss if `text` is not what to_text() gave.
std::string to_text(const Origin& origin);
base::Result<Origin> origin_from_text(const std::string& text);

/// Decides which images may come in and run. Calls come from any thread.
class Admission {
 public:
  virtual ~Admission() = default;
  /// kPermissionDenied, with the reason, where an image of this origin may neither come in nor run.
  virtual base::Result<void> admit(const Origin& origin) = 0;
};

}  // namespace images
