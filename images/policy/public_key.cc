#include "images/policy/public_key.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

namespace images {

namespace {

constexpr int kMinRsaBits = 2048;

struct FreeBio {
  void operator()(BIO* bio) const { ::BIO_free(bio); }
};
struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { ::EVP_MD_CTX_free(context); }
};

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

bool is_p256(const EVP_PKEY* key) {
  char group[32];
  std::size_t length = 0;
  return ::EVP_PKEY_get_group_name(key, group, sizeof group, &length) == 1 &&
         std::string_view(group, length) == "prime256v1";
}

bool is_ed25519(const EVP_PKEY* key) { return ::EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519; }

bool is_accepted(const EVP_PKEY* key) {
  switch (::EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_EC:
      return is_p256(key);
    case EVP_PKEY_RSA:
      return ::EVP_PKEY_get_bits(key) >= kMinRsaBits;
    default:
      return is_ed25519(key);
  }
}

}  // namespace

void PublicKey::Free::operator()(evp_pkey_st* key) const { ::EVP_PKEY_free(key); }

base::Result<PublicKey> PublicKey::from_pem(std::string_view pem) {
  const std::unique_ptr<BIO, FreeBio> bio(
      ::BIO_new_mem_buf(pem.data(), static_cast<int>(std::min<std::size_t>(pem.size(), 1u << 20))));
  if (!bio) return base::Error{base::Code::kInternal, "out of memory"};
  PublicKey key(::PEM_read_bio_PUBKEY(bio.get(), nullptr, nullptr, nullptr));
  ::ERR_clear_error();
  if (!key.key_) return base::Error{base::Code::kInvalidArgument, "not a PEM public key"};
  if (!is_accepted(key.key_.get()))
    return base::Error{base::Code::kInvalidArgument,
                       "not an ECDSA P-256, RSA (2048 bits or more) or Ed25519 key"};
  return key;
}

bool PublicKey::verifies(std::string_view message, std::string_view signature) const {
  const std::unique_ptr<EVP_MD_CTX, FreeContext> context(::EVP_MD_CTX_new());
  const EVP_MD* const digest = is_ed25519(key_.get()) ? nullptr : ::EVP_sha256();
  const bool verified =
      context && ::EVP_DigestVerifyInit(context.get(), nullptr, digest, nullptr, key_.get()) == 1 &&
      ::EVP_DigestVerify(context.get(), bytes_of(signature), signature.size(), bytes_of(message),
                         message.size()) == 1;
  ::ERR_clear_error();
  return verified;
}

}  // namespace images
