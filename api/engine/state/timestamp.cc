#include "api/engine/state/timestamp.h"

#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <optional>
#include <string>

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr TimeNs kSecond = 1'000'000'000;
constexpr std::int64_t kMostSeconds = 9'000'000'000;  // 292 years fit into 64 bits of nanoseconds

std::string format_seconds(TimeNs time) {
  std::tm parts{};
  const std::time_t seconds = time / kSecond;
  ::gmtime_r(&seconds, &parts);
  std::array<char, 64> out{};
  return std::string(out.data(),
                     std::strftime(out.data(), out.size(), "%Y-%m-%dT%H:%M:%S", &parts));
}

std::string nine_digits(TimeNs nanoseconds) {
  std::string digits = std::to_string(nanoseconds);
  return std::string(9 - std::min<std::size_t>(9, digits.size()), '0') + digits;
}

Error bad_time(std::string_view text) {
  return Error{Code::kInvalidArgument, "invalid time \"" + std::string(text.substr(0, 64)) +
                                           "\": use seconds since the epoch or RFC 3339"};
}

/// The digits after a decimal point as nanoseconds; -1 if they are not 1 to 18 digits.
TimeNs fraction_of(std::string_view digits) {
  if (digits.empty() || digits.size() > 18 ||
      digits.find_first_not_of("0123456789") != std::string_view::npos)
    return -1;
  TimeNs value = 0;
  for (std::size_t i = 0; i < 9; ++i) {
    const char c = i < digits.size() ? digits[i] : '0';
    value = value * 10 + (c - '0');
  }
  return value;
}

/// "Z" or "+02:00" in seconds east of Greenwich; nullopt if it is neither.
std::optional<std::int64_t> zone_of(std::string_view text) {
  if (text == "Z" || text == "z") return 0;
  if (text.size() != 6 || (text[0] != '+' && text[0] != '-') || text[3] != ':') return std::nullopt;
  for (const std::size_t at : {1u, 2u, 4u, 5u})
    if (text[at] < '0' || text[at] > '9') return std::nullopt;
  const auto digits = [&](std::size_t at) { return (text[at] - '0') * 10 + (text[at + 1] - '0'); };
  if (digits(1) > 23 || digits(4) > 59) return std::nullopt;
  const std::int64_t seconds = digits(1) * 3600 + digits(4) * 60;
  return text[0] == '-' ? -seconds : seconds;
}

Result<TimeNs> parse_rfc3339(std::string_view text) {
  std::tm parts{};
  const std::string copy(text);
  const char* rest = ::strptime(copy.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (rest == nullptr) return bad_time(text);
  std::string_view tail(rest);
  TimeNs fraction = 0;
  if (tail.starts_with('.')) {
    const std::size_t end = tail.find_first_not_of("0123456789", 1);
    if (end == std::string_view::npos) return bad_time(text);
    fraction = fraction_of(tail.substr(1, end - 1));
    tail.remove_prefix(end);
  }
  const auto zone = zone_of(tail);
  if (fraction < 0 || !zone) return bad_time(text);
  const std::int64_t seconds = ::timegm(&parts) - *zone;
  if (seconds < -kMostSeconds || seconds > kMostSeconds) return bad_time(text);
  return seconds * kSecond + fraction;
}

}  // namespace

TimeNs now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string format_time(TimeNs time) {
  if (time == 0) return "0001-01-01T00:00:00Z";
  std::string text = format_seconds(time);
  std::string fraction = nine_digits(time % kSecond);
  while (!fraction.empty() && fraction.back() == '0') fraction.pop_back();
  if (!fraction.empty()) text += "." + fraction;
  return text + "Z";
}

std::string format_time_fixed(TimeNs time) {
  return format_seconds(time) + "." + nine_digits(time % kSecond) + "Z";
}

Result<TimeNs> parse_time(std::string_view text) {
  if (text.empty()) return TimeNs{0};
  if (text.find('T') != std::string_view::npos) return parse_rfc3339(text);
  const std::size_t dot = std::min(text.find('.'), text.size());
  std::int64_t seconds = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + dot, seconds);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + dot || seconds < -kMostSeconds ||
      seconds > kMostSeconds)
    return bad_time(text);
  const TimeNs fraction = dot < text.size() ? fraction_of(text.substr(dot + 1)) : 0;
  if (fraction < 0) return bad_time(text);
  return seconds * kSecond + fraction;
}

}  // namespace engine
