#include "images/dockerfile/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace dockerfile {

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f';
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

std::string upper_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = (c >= 'a' && c <= 'z') ? static_cast<char>(c - 'a' + 'A') : c;
  return out;
}

std::string quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    constexpr std::string_view kNamed = "\a\b\f\n\r\t\v\\\"";
    constexpr std::string_view kNames = "abfnrtv\\\"";
    const auto byte = static_cast<unsigned char>(c);
    if (const std::size_t at = kNamed.find(c); at != std::string_view::npos) {
      out += '\\';
      out += kNames[at];
    } else if (byte < 0x20 || byte == 0x7f) {
      std::array<char, 8> escape{};
      std::snprintf(escape.data(), escape.size(), "\\x%02x", byte);
      out += escape.data();
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string joined(const std::vector<std::string>& words, std::string_view between) {
  std::string out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0) out += between;
    out += words[i];
  }
  return out;
}

std::string quoted_list(const std::vector<std::string>& words) {
  std::vector<std::string> parts;
  for (const std::string& word : words) parts.push_back(quote(word));
  return "[" + joined(parts, " ") + "]";
}

std::string plain_list(const std::vector<std::string>& words) {
  return "[" + joined(words, " ") + "]";
}

std::string clean_path(std::string_view path) {
  const bool absolute = path.starts_with('/');
  std::vector<std::string> parts;
  while (!path.empty()) {
    const std::string_view part = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(path.size(), part.size() + 1));
    if (part.empty() || part == ".") continue;
    const bool up = part == "..";
    if (up && !parts.empty() && parts.back() != "..") {
      parts.pop_back();
    } else if (!up || !absolute) {
      parts.emplace_back(part);
    }
  }
  const std::string relative = joined(parts, "/");
  if (absolute) return "/" + relative;
  return relative.empty() ? "." : relative;
}

std::optional<std::int64_t> parse_duration(std::string_view text) {
  constexpr std::pair<std::string_view, double> kUnits[] = {{"ns", 1},  {"us", 1e3}, {"ms", 1e6},
                                                            {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
  if (text == "0") return 0;
  double total = 0;
  if (text.empty()) return std::nullopt;
  while (!text.empty()) {
    double amount = 0;
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), amount, std::chars_format::fixed);
    if (error != std::errc() || !(amount >= 0)) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    const std::size_t length = std::min(text.find_first_of("0123456789."), text.size());
    const auto* unit = std::find_if(std::begin(kUnits), std::end(kUnits), [&](const auto& u) {
      return u.first == text.substr(0, length);
    });
    if (unit == std::end(kUnits)) return std::nullopt;
    total += amount * unit->second;
    text.remove_prefix(length);
  }
  if (!(total < 9e18)) return std::nullopt;
  return std::llround(total);
}

namespace {

/// `value` of `unit` nanoseconds each, with as many digits as it needs.
std::string with_fraction(std::int64_t nanoseconds, std::int64_t unit, const char* name) {
  std::string text = std::to_string(nanoseconds / unit);
  if (std::int64_t rest = nanoseconds % unit; rest != 0) {
    text += '.';
    for (std::int64_t digit = unit / 10; rest != 0; digit /= 10) {
      text += static_cast<char>('0' + rest / digit);
      rest %= digit;
    }
  }
  return text + name;
}

}  // namespace

std::string format_duration(std::int64_t nanoseconds) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  if (nanoseconds == 0) return "0s";
  if (nanoseconds < 1'000) return std::to_string(nanoseconds) + "ns";
  if (nanoseconds < 1'000'000) return with_fraction(nanoseconds, 1'000, "µs");
  if (nanoseconds < kSecond) return with_fraction(nanoseconds, 1'000'000, "ms");
  const std::int64_t minutes = nanoseconds / (60 * kSecond);
  std::string text;
  if (minutes >= 60) text += std::to_string(minutes / 60) + "h";
  if (minutes > 0) text += std::to_string(minutes % 60) + "m";
  return text + with_fraction(nanoseconds % (60 * kSecond), kSecond, "s");
}

std::optional<std::string> value_in(const std::vector<std::string>& environment,
                                    std::string_view name) {
  for (const std::string& item : environment) {
    const std::size_t equals = std::min(item.find('='), item.size());
    if (std::string_view(item).substr(0, equals) == name)
      return equals == item.size() ? std::string() : item.substr(equals + 1);
  }
  return std::nullopt;
}

}  // namespace dockerfile
