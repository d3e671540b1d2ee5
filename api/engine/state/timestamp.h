// Timestamps as Docker writes and reads them. A time is nanoseconds since the epoch (UTC); 0 is
// Go's zero time, "0001-01-01T00:00:00Z".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "vmm/base/result.h"

namespace engine {

using TimeNs = std::int64_t;

TimeNs now_ns();

/// RFC 3339 with as many fraction digits as needed: "2026-01-02T03:04:05.5Z".
std::string format_time(TimeNs time);
/// RFC 3339 with nine fraction digits, as `docker logs -t` prints it.
std::string format_time_fixed(TimeNs time);

/// A `since`/`until` value: "1700000000", "1700000000.000000001" (digits after the ninth are
/// dropped, as by Docker), or RFC 3339 with its zone. Empty: 0.
base::Result<TimeNs> parse_time(std::string_view text);

}  // namespace engine
