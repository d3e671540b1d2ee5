// Small text functions that do what Go's do: Docker's builder is written in Go, and Dockerfiles
// must be read, and history and messages be written, as it does. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dockerfile {

bool is_space(char c);  // also \v and \f
std::string_view trim(std::string_view text);
std::string upper_case(std::string_view text);

/// As strconv.Quote: "a\tb".
std::string quote(std::string_view text);
/// As fmt prints a list with %q: ["a" "b"].
std::string quoted_list(const std::vector<std::string>& words);
/// As fmt prints a list with %v: [a b].
std::string plain_list(const std::vector<std::string>& words);
std::string joined(const std::vector<std::string>& words, std::string_view between);

/// As path.Clean: "/a//b/../c/" -> "/a/c"; "." for nothing.
std::string clean_path(std::string_view path);

/// "1h2m3.5s", in nanoseconds: what time.ParseDuration takes, not negative.
std::optional<std::int64_t> parse_duration(std::string_view text);
/// As time.Duration prints itself: "1m30s".
std::string format_duration(std::int64_t nanoseconds);

/// The value of a variable in an "A=1" list, the first if there are several.
std::optional<std::string> value_in(const std::vector<std::string>& environment,
                                    std::string_view name);

}  // namespace dockerfile
