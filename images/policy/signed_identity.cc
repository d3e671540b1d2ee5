#include "images/policy/signed_identity.h"

namespace images {

namespace {

bool is_name_only(const Reference& reference) {
  return reference.tag().empty() && reference.digest().empty();
}

bool same_exactly(const Reference& a, const Reference& b) {
  return !is_name_only(a) && !is_name_only(b) && full_name(a) == full_name(b);
}

/// A tag must be the signed one; a digest says itself what is meant, so only the repository counts.
bool matches_by_digest_or_exactly(const Reference& image, const Reference& claimed) {
  if (is_name_only(claimed)) return false;
  if (!image.tag().empty()) return same_exactly(image, claimed);
  return !image.digest().empty() && image.repository() == claimed.repository();
}

/// Nothing if the outcome is no name.
base::Result<Reference> remapped(const SignedIdentity& identity, const Reference& image) {
  const std::string repository = image.repository();
  const std::string& prefix = identity.name;
  const bool inside = repository == prefix ||
                      (repository.starts_with(prefix) && repository.size() > prefix.size() &&
                       repository[prefix.size()] == '/');
  if (!inside) return image;
  return Reference::parse(identity.signed_prefix + full_name(image).substr(prefix.size()));
}

}  // namespace

bool matches_identity(const SignedIdentity& identity, const std::string& image,
                      const std::string& claimed) {
  using Rule = SignedIdentity::Rule;
  const auto signed_name = Reference::parse(claimed);
  const bool by_policy =
      identity.rule == Rule::kExactReference || identity.rule == Rule::kExactRepository;
  const auto intended = Reference::parse(by_policy ? identity.name : image);
  if (!signed_name || !intended) return false;
  switch (identity.rule) {
    case Rule::kMatchExact:
    case Rule::kExactReference:
      return same_exactly(*intended, *signed_name);
    case Rule::kMatchRepository:
    case Rule::kExactRepository:
      return intended->repository() == signed_name->repository();
    case Rule::kMatchRepoDigestOrExact:
      return matches_by_digest_or_exactly(*intended, *signed_name);
    case Rule::kRemapIdentity: {
      const auto other = remapped(identity, *intended);
      return other && matches_by_digest_or_exactly(*other, *signed_name);
    }
  }
  return false;
}

}  // namespace images
