#include "images/store/values/reference.h"

#include <fnmatch.h>

#include <algorithm>

namespace images {

namespace {

constexpr std::string_view kDefaultDomain = "docker.io";
constexpr std::string_view kOfficialPrefix = "library/";
constexpr std::size_t kMaxRepositoryBytes = 255;
constexpr std::size_t kMaxTagBytes = 128;
constexpr std::size_t kMaxReferenceBytes = 1024;

base::Error bad(std::string_view why = "") {
  return {base::Code::kInvalidArgument, "invalid reference format" + std::string(why)};
}

bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_alnum(char c) { return is_lower(c) || is_upper(c) || is_digit(c); }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); }

/// [a-z0-9]+ joined by one of "." "_" "__" "-"+
bool is_path_component(std::string_view text) {
  const auto is_word = [](char c) { return is_lower(c) || is_digit(c); };
  if (text.empty() || !is_word(text.front()) || !is_word(text.back())) return false;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i;
    while (end < text.size() && !is_word(text[end])) ++end;
    const std::string_view separator = text.substr(i, end - i);
    const bool dashes = separator.find_first_not_of('-') == std::string_view::npos;
    if (!dashes && separator != "." && separator != "_" && separator != "__") return false;
    i = end + 1;
  }
  return true;
}

bool is_path(std::string_view text) {
  while (true) {
    const std::size_t slash = std::min(text.find('/'), text.size());
    if (!is_path_component(text.substr(0, slash))) return false;
    if (slash == text.size()) return true;
    text.remove_prefix(slash + 1);
  }
}

/// [a-zA-Z0-9] with inner dashes, joined by dots; or "[ipv6]"; optionally ":port".
bool is_domain(std::string_view text) {
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos || close == 1) return false;
    const std::string_view address = text.substr(1, close - 1);
    const auto is_address = [](char c) { return is_hex(c) || (c >= 'A' && c <= 'F') || c == ':'; };
    if (!std::all_of(address.begin(), address.end(), is_address)) return false;
    text.remove_prefix(close + 1);
  } else {
    const std::size_t end = std::min(text.find(':'), text.size());
    std::string_view host = text.substr(0, end);
    text.remove_prefix(end);
    while (true) {
      const std::size_t dot = std::min(host.find('.'), host.size());
      const std::string_view label = host.substr(0, dot);
      if (label.empty() || !is_alnum(label.front()) || !is_alnum(label.back())) return false;
      if (!std::all_of(label.begin(), label.end(), [](char c) { return is_alnum(c) || c == '-'; }))
        return false;
      if (dot == host.size()) break;
      host.remove_prefix(dot + 1);
    }
  }
  if (text.empty()) return true;
  text.remove_prefix(1);
  return !text.empty() && std::all_of(text.begin(), text.end(), is_digit);
}

/// The first part names a registry only if it looks like a host: has "." or ":", is "localhost",
/// or could not be a path.
bool names_domain(std::string_view first) {
  return first.find_first_of(".:[") != std::string_view::npos || first == "localhost" ||
         std::any_of(first.begin(), first.end(), is_upper);
}

bool is_hex_id(std::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), is_hex);
}

/// Matches without crossing "/" as Go's path.Match does.
bool glob(std::string_view pattern, const std::string& text) {
  return fnmatch(std::string(pattern).c_str(), text.c_str(), FNM_PATHNAME) == 0;
}

}  // namespace

bool is_valid_tag(std::string_view tag) {
  if (tag.empty() || tag.size() > kMaxTagBytes) return false;
  if (!is_alnum(tag.front()) && tag.front() != '_') return false;
  return std::all_of(tag.begin(), tag.end(),
                     [](char c) { return is_alnum(c) || c == '_' || c == '.' || c == '-'; });
}

bool is_sha256_digest(std::string_view text) {
  constexpr std::string_view kPrefix = "sha256:";
  return text.starts_with(kPrefix) && is_hex_id(text.substr(kPrefix.size()));
}

base::Result<Reference> Reference::parse(std::string_view text) {
  if (text.empty() || text.size() > kMaxReferenceBytes) return bad();
  if (is_hex_id(text))
    return bad(": repository name (" + std::string(text) +
               ") cannot be 64-byte hexadecimal strings");
  Reference reference;
  if (const std::size_t at = text.find('@'); at != std::string_view::npos) {
    reference.digest_ = text.substr(at + 1);
    text = text.substr(0, at);
    if (!is_sha256_digest(reference.digest_)) return bad();
  }
  const std::size_t last_slash = text.rfind('/');
  const std::size_t colon = text.rfind(':');
  if (colon != std::string_view::npos &&
      (last_slash == std::string_view::npos || colon > last_slash)) {
    reference.tag_ = text.substr(colon + 1);
    text = text.substr(0, colon);
    if (!is_valid_tag(reference.tag_)) return bad();
  }

  const std::size_t slash = text.find('/');
  if (slash != std::string_view::npos && names_domain(text.substr(0, slash))) {
    reference.domain_ = text.substr(0, slash);
    reference.path_ = text.substr(slash + 1);
    if (reference.domain_ == "index.docker.io") reference.domain_ = kDefaultDomain;
  } else {
    reference.domain_ = kDefaultDomain;
    reference.path_ = text;
  }
  if (reference.domain_ == kDefaultDomain && reference.path_.find('/') == std::string::npos)
    reference.path_.insert(0, kOfficialPrefix);

  if (std::any_of(reference.path_.begin(), reference.path_.end(), is_upper))
    return bad(": repository name (" + reference.path_.substr(0, reference.path_.find(':')) +
               ") must be lowercase");
  if (!is_domain(reference.domain_) || !is_path(reference.path_)) return bad();
  if (reference.path_.size() > kMaxRepositoryBytes)
    return base::Error{base::Code::kInvalidArgument,
                       "repository name must not be more than 255 characters"};
  return reference;
}

std::string familiar_repository(std::string_view repository) {
  constexpr std::string_view kHub = "docker.io/";
  if (!repository.starts_with(kHub)) return std::string(repository);
  repository.remove_prefix(kHub.size());
  const bool official = repository.starts_with(kOfficialPrefix) &&
                        repository.find('/', kOfficialPrefix.size()) == std::string_view::npos;
  if (official) repository.remove_prefix(kOfficialPrefix.size());
  return std::string(repository);
}

std::string Reference::familiar_repository() const {
  return images::familiar_repository(repository());
}

std::string Reference::familiar() const {
  std::string text = familiar_repository();
  if (!tag_.empty()) text += ":" + tag_;
  if (!digest_.empty()) text += "@" + digest_;
  return text;
}

Reference Reference::with_default_tag() const {
  return tag_.empty() && digest_.empty() ? with_tag("latest") : *this;
}

Reference Reference::with_tag(std::string tag) const {
  Reference tagged = *this;
  tagged.tag_ = std::move(tag);
  return tagged;
}

Reference Reference::with_digest(std::string digest) const {
  Reference digested = *this;
  digested.tag_.clear();
  digested.digest_ = std::move(digest);
  return digested;
}

bool matches_pattern(std::string_view pattern, std::string_view familiar_repository,
                     std::string_view tag_or_digest, bool is_digest) {
  const std::string name(familiar_repository);
  return glob(pattern, name) ||
         glob(pattern, name + (is_digest ? "@" : ":") + std::string(tag_or_digest));
}

std::string full_name(const Reference& reference) {
  std::string name = reference.repository();
  if (!reference.tag().empty()) name += ":" + reference.tag();
  if (!reference.digest().empty()) name += "@" + reference.digest();
  return name;
}

}  // namespace images
