#include "api/engine/timestamp.h"

#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <string>

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr TimeNs kSecond = 1'000'000'000;

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

/// The digits after a decimal point as nanoseconds; -1 if they are not 1 to 9 digits.
TimeNs fraction_of(std::string_view digits) {
  if (digits.empty() || digits.size() > 9) return -1;
  TimeNs value = 0;
  for (std::size_t i = 0; i < 9; ++i) {
    const char c = i < digits.size() ? digits[i] : '0';
    if (c < '0' || c > '9') return -1;
    value = value * 10 + (c - '0');
  }
  return value;
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
  if (fraction < 0 || tail != "Z") return bad_time(text);
  return ::timegm(&parts) * kSecond + fraction;
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
  // 292 years fit into 64 bits of nanoseconds.
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + dot || seconds < 0 ||
      seconds > 9'000'000'000)
    return bad_time(text);
  const TimeNs fraction = dot < text.size() ? fraction_of(text.substr(dot + 1)) : 0;
  if (fraction < 0) return bad_time(text);
  return seconds * kSecond + fraction;
}

}  // namespace engine
