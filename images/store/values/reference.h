// Reference: an image name as people type it, in normalised form.
//
// Grammar: the distribution project's reference grammar; "busybox" means
// "docker.io/library/busybox:latest". Spec: OCI distribution spec ("name", "reference") and
// Docker's rules for short names.
// Trust: the text comes from clients and archives.
#pragma once

#include <string>
#include <string_view>

#include "vmm/base/result.h"

namespace images {

class Reference {
 public:
  /// Parses `text`. kInvalidArgument with Docker's sentence ("invalid reference format").
  static base::Result<Reference> parse(std::string_view text);

  const std::string& domain() const { return domain_; }  // "docker.io"
  const std::string& path() const { return path_; }      // "library/busybox"
  const std::string& tag() const { return tag_; }        // may be empty
  const std::string& digest() const { return digest_; }  // "sha256:<hex>", may be empty

  /// "docker.io/library/busybox": what the database stores.
  std::string repository() const { return domain_ + "/" + path_; }
  /// "busybox": the repository as Docker shows it.
  std::string familiar_repository() const;
  /// "busybox:latest", "busybox@sha256:...": as Docker shows it.
  std::string familiar() const;

  /// The same name, with tag "latest" if it has neither tag nor digest.
  Reference with_default_tag() const;
  Reference with_tag(std::string tag) const;        // `tag` must be valid (is_valid_tag)
  Reference with_digest(std::string digest) const;  // in place of the tag; a valid digest

 private:
  std::string domain_;
  std::string path_;
  std::string tag_;
  std::string digest_;
};

bool is_valid_tag(std::string_view tag);

/// "sha256:<64 lower-case hex digits>"
bool is_sha256_digest(std::string_view text);

/// A repository as Docker shows it: "x" for "docker.io/library/x".
std::string familiar_repository(std::string_view repository);

/// Docker's pattern for reference filters: path.Match over the familiar name, with and without tag.
bool matches_pattern(std::string_view pattern, std::string_view familiar_repository,
                     std::string_view tag_or_digest, bool is_digest);

/// "docker.io/library/busybox:latest": the whole name, nothing shortened.
std::string full_name(const Reference& reference);

}  // namespace images
