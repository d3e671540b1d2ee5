// Patterns: names with wildcards, as Go's filepath.Match has them, and .dockerignore files.
//
// Trust: patterns and names are hostile; matching takes time proportional to the product of their
// lengths, not more.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"

namespace dockerfile {

bool has_wildcards(std::string_view text);

/// `*` and `?` do not match a slash; [a-z], [^a-z], \x. kInvalidArgument for a malformed pattern.
base::Result<bool> matches(std::string_view pattern, std::string_view name);

/// The patterns of a .dockerignore, one a line. `**` matches any number of directories; a pattern
/// with `!` in front keeps what it matches; the last pattern that matches decides.
class IgnoreList {
 public:
  static base::Result<IgnoreList> parse(std::string_view text);

  /// Whether `path`, without a leading slash, is ignored, itself or with a directory above it.
  bool ignores(std::string_view path) const;

 private:
  struct Pattern {
    std::vector<std::string> parts;
    bool exception = false;
  };
  std::vector<Pattern> patterns_;
};

}  // namespace dockerfile
