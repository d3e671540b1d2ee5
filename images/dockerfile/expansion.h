// Expansion: variables, quotes and escapes in the words of a Dockerfile's instructions.
//
// $NAME, ${NAME}, and ${NAME:-word}, ${NAME:+word}, ${NAME:?word}, each also without the colon
// (then only an unset variable counts, not an empty one). Single quotes keep everything, double
// quotes everything but variables and escapes; the quotes go.
// Trust: the text is hostile: nesting is bounded, and so is what it may grow to.
// Errors: kInvalidArgument, in the classic builder's words.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"

namespace dockerfile {

class Expansion {
 public:
  /// `environment`: "NAME=value"; the first of a name counts. Outlives the Expansion.
  Expansion(char escape, const std::vector<std::string>& environment)
      : escape_(escape), environment_(environment) {}

  /// `text` as one word.
  base::Result<std::string> word(std::string_view text) const;
  /// `text` split at the spaces that are not quoted, also those that came out of a variable.
  base::Result<std::vector<std::string>> words(std::string_view text) const;

 private:
  const char escape_;
  const std::vector<std::string>& environment_;
};

}  // namespace dockerfile
