#include "api/engine/json_log.h"

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

void append_escaped(std::string& out, std::string_view text) {
  while (!text.empty()) {
    const char c = text.front();
    const std::size_t length = sequence_length(text);
    if (length == 0) {
      out += "\\ufffd";
      text.remove_prefix(1);
      continue;
    }
    if (length == 3 && (text.starts_with("\xe2\x80\xa8") || text.starts_with("\xe2\x80\xa9"))) {
      out += text[2] == '\xa8' ? "\\u2028" : "\\u2029";
    } else if (length > 1) {
      out += text.substr(0, length);
    } else if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == '<' || c == '>' || c == '&') {
      out += "\\u00";
      out += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4];
      out += "0123456789abcdef"[c & 15];
    } else {
      out += c;
    }
    text.remove_prefix(length);
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

void append_log_line(std::string& out, Stream stream, std::string_view text, TimeNs time,
                     std::string_view attributes) {
  out += "{\"log\":\"";
  append_escaped(out, text);
  out += stream == Stream::kStderr ? R"(","stream":"stderr",)" : R"(","stream":"stdout",)";
  if (!attributes.empty()) {
    out += "\"attrs\":";
    out += attributes;
    out += ',';
  }
  out += "\"time\":\"";
  out += format_time(time);
  out += "\"}\n";
}

}  // namespace engine
