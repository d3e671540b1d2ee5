#include "images/store/streams/digest.h"

#include <openssl/evp.h>

#include <cstdlib>

namespace images {

void Sha256::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

// OpenSSL fails here only when it is out of memory, which ends a process like any bad_alloc.
Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) std::abort();
}

void Sha256::update(std::span<const std::byte> bytes) {
  if (EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) != 1) std::abort();
}

Sha256::Value Sha256::finish() {
  Value value{};
  unsigned int size = 0;
  if (EVP_DigestFinal_ex(context_.get(), value.data(), &size) != 1 || size != value.size())
    std::abort();
  return value;
}

std::string to_digest_string(const Sha256::Value& value) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string text = "sha256:";
  for (const std::uint8_t byte : value) {
    text += kHex[byte >> 4];
    text += kHex[byte & 15];
  }
  return text;
}

std::string digest_of(std::string_view bytes) {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(bytes)));
  return to_digest_string(hash.finish());
}

base::Result<std::size_t> HashingSource::read(std::span<std::byte> out) {
  auto got = source_.read(out);
  if (got) {
    hash_.update(out.first(*got));
    total_ += *got;
  }
  return got;
}

}  // namespace images
