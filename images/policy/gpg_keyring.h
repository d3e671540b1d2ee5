// GpgKeyring: verifies OpenPGP messages with exactly the given keys, by way of GnuPG (GPGME).
//
// GnuPG keeps keys in a home directory: each keyring makes one of its own, with nothing in it but
// these keys, and removes it. GnuPG's agent is not started and nothing is looked up in a network.
// Threads: one at a time per keyring; any number of keyrings. Blocks: each call runs a gpg process.
// Errors: kInvalidArgument for keys, kPermissionDenied for messages, kInternal.
// Trust: keys are the administrator's; messages are hostile, their size is bounded, and so is what
// gpg may make of them (compressed messages).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"

struct gpgme_context;

namespace images {

class GpgKeyring {
 public:
  /// `keyrings`: exported public keys, binary or armoured. Makes its home below `scratch`.
  static base::Result<GpgKeyring> make(const std::string& scratch,
                                       const std::vector<std::string>& keyrings);
  GpgKeyring(GpgKeyring&&) = default;
  GpgKeyring& operator=(GpgKeyring&&) = delete;
  ~GpgKeyring() = default;

  /// The content of the message, if a key of this ring signed it and the signature is valid now.
  base::Result<std::string> open_signed(std::string_view message) const;

 private:
  struct RemoveHome {
    void operator()(std::string* path) const;
  };
  struct Release {
    void operator()(gpgme_context* context) const;
  };
  GpgKeyring() = default;
  base::Result<void> import(std::string_view keys, std::size_t& count);

  std::unique_ptr<std::string, RemoveHome> home_;
  std::unique_ptr<gpgme_context, Release> context_;  // goes first
};

}  // namespace images
