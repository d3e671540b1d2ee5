// printable(): makes text that somebody else chose fit for a log or a terminal.
//
// Threads: any.
#pragma once

#include <string>
#include <string_view>

namespace base {

/// Returns `text` on one line, without anything that a terminal or a reader of lines obeys: control
/// characters (C0, DEL, C1), line separators, marks that turn the direction of writing and bytes
/// that are not UTF-8 become \n, \t or \xNN, byte by byte. A backslash becomes two, so that the
/// original can be told from the result. The result is at most four times as long.
std::string printable(std::string_view text);

}  // namespace base
