// Times as image configurations write them: RFC 3339, UTC, up to nanoseconds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace images {

/// CLOCK_REALTIME in nanoseconds.
std::int64_t now_ns();

/// "2024-05-06T07:08:09.123456789Z"
std::string format_timestamp(std::int64_t ns);

/// Nanoseconds since the epoch, or nullopt if the text is no such time or out of range.
std::optional<std::int64_t> parse_timestamp(std::string_view text);

}  // namespace images
