#include "images/policy/lookaside_directory.h"

#include "images/policy/small_file.h"

namespace images {

base::Result<std::vector<Signature>> LookasideDirectory::signatures(
    const Reference& reference, const std::string& manifest_digest) {
  if (!is_sha256_digest(manifest_digest))
    return base::Error{base::Code::kInvalidArgument, "invalid digest " + manifest_digest};
  std::string digest = manifest_digest;
  digest[digest.find(':')] = '=';
  const std::string base = directory_ + "/" + reference.path() + "@" + digest + "/signature-";
  std::vector<Signature> found;
  for (std::size_t number = 1;; ++number) {
    auto bytes = read_small_file(base + std::to_string(number), kMaxSignatureBytes);
    if (!bytes && bytes.error().code == base::Code::kNotFound) return found;
    if (!bytes) return std::move(bytes).error();
    found.push_back(
        {.kind = Signature::Kind::kSimple, .payload = *std::move(bytes), .signature = {}});
    RETURN_IF_ERROR(check_limits(found));
  }
}

}  // namespace images
