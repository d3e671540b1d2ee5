// parse(): turns the text of a Dockerfile into statements, one for each instruction: it joins
// continuation lines, removes comments and parser directives, and separates flags from arguments.
//
// instructions.h checks what the arguments mean; expansion.h replaces variables. As with the
// classic builder, "# syntax=" is ignored and there are no here-documents: a "<<EOF" is a word like
// others.
// Trust: the text is hostile; its size is bounded by the caller and a line's by kMaxLine.
// Errors: kInvalidArgument, in the classic builder's words.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"

namespace dockerfile {

/// The most bytes that a line may have.
inline constexpr std::size_t kMaxLine = 65535;

struct Statement {
  int line = 0;                        // where it begins, from 1
  std::string keyword;                 // in lower case
  std::string text;                    // all of it, continuation lines joined
  std::string rest;                    // what follows the keyword and the flags
  std::vector<std::string> flags;      // "--from=x"
  std::vector<std::string> arguments;  // ENV, LABEL: name, value, name, value...
  bool exec_form = false;              // the arguments were a JSON list
};

struct ParsedFile {
  std::vector<Statement> statements;
  char escape = '\\';
  std::vector<std::string> warnings;
};

base::Result<ParsedFile> parse(std::string_view text);

/// One statement: an ONBUILD trigger, or a change of `docker commit`.
base::Result<Statement> parse_statement(std::string_view text, char escape = '\\');

}  // namespace dockerfile
