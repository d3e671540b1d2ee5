// SignaturePayload: the statement that a signer signs: the manifest with this digest is an image of
// this name.
//
// Spec: containers-signature(5) ("simple signing"); cosign's signature specification, which has the
// same form. Parsing is strict. Errors: kInvalidArgument.
// Trust: the bytes come from registries. They are parsed after their signature was verified, but a
// signer is trusted for what it says, not for how it says it.
#pragma once

#include <string>
#include <string_view>

#include "images/store/values/origin.h"
#include "vmm/base/result.h"

namespace images {

struct SignaturePayload {
  std::string manifest_digest;  // "sha256:<hex>"
  std::string reference;        // as signed; any text
};

base::Result<SignaturePayload> parse_signature_payload(std::string_view text, Signature::Kind kind);

}  // namespace images
