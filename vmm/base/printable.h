// printable: text that somebody else chose, for a log or a terminal.
#pragma once

#include <string>
#include <string_view>

namespace base {

/// `text` on one line, without anything that a terminal or a reader of lines obeys: control
/// characters (C0, DEL, C1), line separators, marks that turn the direction of writing and bytes
/// that are not UTF-8 become \n, \t or \xNN, byte by byte; a backslash becomes two, so that what
/// was there can be told. At most four times as long.
std::string printable(std::string_view text);

}  // namespace base
