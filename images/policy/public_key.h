// PublicKey: verifies detached signatures as cosign makes them: ECDSA P-256 or RSA (PKCS #1 v1.5,
// from 2048 bits) over SHA-256, or Ed25519.
//
// Threads: const calls from any. Errors: kInvalidArgument for a key that is none of these.
#pragma once

#include <memory>
#include <string_view>

#include "vmm/base/result.h"

struct evp_pkey_st;

namespace images {

class PublicKey {
 public:
  /// `pem` is a "PUBLIC KEY" block (RFC 7468).
  static base::Result<PublicKey> from_pem(std::string_view pem);

  bool verifies(std::string_view message, std::string_view signature) const;

 private:
  struct Free {
    void operator()(evp_pkey_st* key) const;
  };
  explicit PublicKey(evp_pkey_st* key) : key_(key) {}

  std::unique_ptr<evp_pkey_st, Free> key_;
};

}  // namespace images
