// A line of a container's log in Docker's json-file format: one JSON object,
// {"log":"text\n","stream":"stdout","attrs":{"tag":"web"},"time":"2026-01-02T03:04:05.5Z"}.
//
// Trust: the text is the guest's, any bytes. Bytes that are not UTF-8 become U+FFFD, as with
// Docker.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "api/engine/state/timestamp.h"
#include "guest-init/protocol/messages.h"

namespace engine {

struct LogEntry {
  protocol::Stream stream = protocol::Stream::kStdout;
  std::string text;  // with its newline, if it had one
  TimeNs time = 0;
  std::map<std::string, std::string> attributes;
};

/// What follows the text in every line of one stream, time and set of attributes (a JSON object, or
/// empty): made once for many lines.
std::string log_line_end(protocol::Stream stream, TimeNs time, std::string_view attributes = {});

/// Appends one line to `out`, of its text and its log_line_end().
void append_log_line(std::string& out, std::string_view text, std::string_view end);
void append_log_line(std::string& out, protocol::Stream stream, std::string_view text, TimeNs time,
                     std::string_view attributes = {});

/// Reads a line back; nullopt if it is not a line of this format.
std::optional<LogEntry> parse_log_line(std::string_view line);

}  // namespace engine
