#include "api/engine/output/json_log.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace engine {

using protocol::Stream;

namespace {

/// The length of the valid UTF-8 sequence at the start of `text`; 0 if there is none.
std::size_t sequence_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto follows = [&](std::size_t i, unsigned low = 0x80, unsigned high = 0xbf) {
    return i < text.size() && byte(i) >= low && byte(i) <= high;
  };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return follows(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    const unsigned low = first == 0xe0 ? 0xa0 : 0x80;   // no overlong forms
    const unsigned high = first == 0xed ? 0x9f : 0xbf;  // no surrogates
    return follows(1, low, high) && follows(2) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const unsigned low = first == 0xf0 ? 0x90 : 0x80;
    const unsigned high = first == 0xf4 ? 0x8f : 0xbf;
    return follows(1, low, high) && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

/// Whether the byte stands for itself in JSON, as Go writes it, and is no part of a longer
/// sequence.
constexpr std::array<bool, 256> plain_bytes() {
  std::array<bool, 256> plain{};
  for (std::size_t byte = 0x20; byte < 0x80; ++byte) plain[byte] = true;
  for (const char escaped : {'"', '\\', '<', '>', '&'})
    plain[static_cast<unsigned char>(escaped)] = false;
  return plain;
}

constexpr std::array<bool, 256> kPlain = plain_bytes();

void append_escaped_byte(std::string& out, char c) {
  switch (c) {
    case '"':
    case '\\':
      out += '\\';
      out += c;
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    default:
      out += "\\u00";
      out += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4];
      out += "0123456789abcdef"[c & 15];
  }
}

void append_escaped(std::string& out, std::string_view text) {
  while (!text.empty()) {
    std::size_t run = 0;
    while (run < text.size() && kPlain[static_cast<unsigned char>(text[run])]) ++run;
    out += text.substr(0, run);
    text.remove_prefix(run);
    if (text.empty()) return;
    const std::size_t length = sequence_length(text);
    if (length == 0) {
      out += "\\ufffd";
    } else if (length == 3 &&
               (text.starts_with("\xe2\x80\xa8") || text.starts_with("\xe2\x80\xa9"))) {
      out += text[2] == '\xa8' ? "\\u2028" : "\\u2029";
    } else if (length > 1) {
      out += text.substr(0, length);
    } else {
      append_escaped_byte(out, text.front());
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
}

}  // namespace

std::optional<LogEntry> parse_log_line(std::string_view line) {
  const auto value = nlohmann::json::parse(line, nullptr, false);
  if (!value.is_object()) return std::nullopt;
  const auto log = value.find("log");
  const auto stream = value.find("stream");
  const auto time = value.find("time");
  if (log == value.end() || stream == value.end() || time == value.end() || !log->is_string() ||
      !stream->is_string() || !time->is_string())
    return std::nullopt;
  const auto parsed = parse_time(time->get_ref<const std::string&>());
  if (!parsed) return std::nullopt;
  LogEntry entry{.stream = *stream == "stderr" ? Stream::kStderr : Stream::kStdout,
                 .text = log->get<std::string>(),
                 .time = *parsed,
                 .attributes = {}};
  const auto attributes = value.find("attrs");
  if (attributes != value.end() && attributes->is_object())
    for (const auto& [key, item] : attributes->items())
      if (item.is_string()) entry.attributes.emplace(key, item.get<std::string>());
  return entry;
}

std::string log_line_end(Stream stream, TimeNs time, std::string_view attributes) {
  std::string end(stream == Stream::kStderr ? R"(","stream":"stderr",)"
                                            : R"(","stream":"stdout",)");
  if (!attributes.empty()) {
    end += "\"attrs\":";
    end += attributes;
    end += ',';
  }
  end += "\"time\":\"";
  end += format_time(time);
  end += "\"}\n";
  return end;
}

void append_log_line(std::string& out, std::string_view text, std::string_view end) {
  out += "{\"log\":\"";
  append_escaped(out, text);
  out += end;
}

void append_log_line(std::string& out, Stream stream, std::string_view text, TimeNs time,
                     std::string_view attributes) {
  append_log_line(out, text, log_line_end(stream, time, attributes));
}

}  // namespace engine
