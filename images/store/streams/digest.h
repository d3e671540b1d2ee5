// Sha256: the digest that names blobs, layers and images (OCI image spec, descriptor.md).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "images/store/streams/byte_source.h"

struct evp_md_ctx_st;

namespace images {

class Sha256 {
 public:
  using Value = std::array<std::uint8_t, 32>;

  Sha256();
  void update(std::span<const std::byte> bytes);
  Value finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

/// "sha256:<64 lower-case hex digits>"
std::string to_digest_string(const Sha256::Value& value);
std::string digest_of(std::string_view bytes);

/// Passes bytes through and digests all of them, skipped ones too.
class HashingSource : public ByteSource {
 public:
  explicit HashingSource(ByteSource& source) : source_(source) {}
  base::Result<std::size_t> read(std::span<std::byte> out) override;
  Sha256::Value finish() { return hash_.finish(); }
  std::uint64_t total() const { return total_; }

 private:
  ByteSource& source_;
  Sha256 hash_;
  std::uint64_t total_ = 0;
};

}  // namespace images
