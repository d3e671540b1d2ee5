// A registry's bytes: a signature's payload, the name in it, and its base64.
#include <cstdint>
#include <string>

#include "images/policy/signature_payload.h"
#include "images/policy/signed_identity.h"
#include "images/store/values/base64.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string text(reinterpret_cast<const char*>(data), size);
  if (const auto bytes = images::from_base64(text);
      bytes && images::to_base64(*bytes).size() != text.size())
    __builtin_trap();
  (void)images::matches_identity({.rule = images::SignedIdentity::Rule::kRemapIdentity,
                                  .name = "a.b",
                                  .signed_prefix = "c.d/e"},
                                 "a.b/c:tag", text);
  // Half of the inputs are the inside of a payload.
  if (size > 0 && data[0] % 2 == 0)
    text = R"({"critical":{"type":"atomic container signature","image":{)" + text.substr(1) +
           R"(},"identity":{"docker-reference":"x"}},"optional":{}})";
  for (const auto kind : {images::Signature::Kind::kSimple, images::Signature::Kind::kSigstore}) {
    const auto payload = images::parse_signature_payload(text, kind);
    if (payload && payload->manifest_digest.size() != 71) __builtin_trap();
  }
  return 0;
}
