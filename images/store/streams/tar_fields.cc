#include "images/store/streams/tar_fields.h"

#include <algorithm>
#include <charconv>
#include <limits>

namespace images::tar {

namespace {

base::Error malformed(std::string_view what) {
  return base::Error{base::Code::kInvalidArgument,
                     "archive/tar: invalid tar header: " + std::string(what)};
}

std::optional<std::int64_t> base256(std::span<const std::byte> raw) {
  const bool negative = (std::to_integer<unsigned>(raw[0]) & 0x40u) != 0;
  const std::uint8_t flip = negative ? 0xff : 0;
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < raw.size(); ++i) {
    auto byte = static_cast<std::uint8_t>(std::to_integer<unsigned>(raw[i]) ^ flip);
    if (i == 0) byte &= 0x7f;
    if (value >> 56 != 0) return std::nullopt;
    value = value << 8 | byte;
  }
  if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    return std::nullopt;
  const auto magnitude = static_cast<std::int64_t>(value);
  return negative ? ~magnitude : magnitude;
}

}  // namespace

std::string text(std::span<const std::byte> header, Field field) {
  const std::span raw = header.subspan(field.offset, field.size);
  const auto end = std::find(raw.begin(), raw.end(), std::byte{0});
  return {reinterpret_cast<const char*>(raw.data()), static_cast<std::size_t>(end - raw.begin())};
}

std::optional<std::int64_t> number(std::span<const std::byte> header, Field field) {
  const std::span raw = header.subspan(field.offset, field.size);
  if ((std::to_integer<unsigned>(raw[0]) & 0x80u) != 0) return base256(raw);

  std::string digits = text(header, field);
  const auto is_padding = [](char c) { return c == ' '; };
  digits.erase(digits.begin(), std::find_if_not(digits.begin(), digits.end(), is_padding));
  while (!digits.empty() && is_padding(digits.back())) digits.pop_back();
  if (digits.empty()) return 0;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 8);
  if (error != std::errc() || end != digits.data() + digits.size() || digits[0] == '-')
    return std::nullopt;
  return value;
}

bool checksum_matches(std::span<const std::byte> header) {
  std::int64_t as_unsigned = 0;
  std::int64_t as_signed = 0;
  for (std::size_t i = 0; i < header.size(); ++i) {
    const bool in_field = i >= kChecksum.offset && i < kChecksum.offset + kChecksum.size;
    const auto byte = in_field ? std::uint8_t{' '} : std::to_integer<std::uint8_t>(header[i]);
    as_unsigned += byte;
    as_signed += static_cast<std::int8_t>(byte);
  }
  const auto stored = number(header, kChecksum);
  return stored && (*stored == as_unsigned || *stored == as_signed);
}

base::Result<std::vector<std::pair<std::string, std::string>>> parse_pax(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> records;
  while (!text.empty()) {
    const std::size_t space = text.find(' ');
    if (space == std::string_view::npos) return malformed("pax record without a length");
    const auto length = decimal(text.substr(0, space));
    if (!length || *length > text.size() || *length < space + 3)
      return malformed("pax record with a bad length");
    const std::string_view record = text.substr(space + 1, *length - space - 1);
    const std::size_t equals = record.find('=');
    if (record.back() != '\n' || equals == std::string_view::npos || equals == 0)
      return malformed("pax record without a key and a value");
    records.emplace_back(record.substr(0, equals),
                         record.substr(equals + 1, record.size() - equals - 2));
    text.remove_prefix(*length);
  }
  return records;
}

std::optional<std::uint64_t> decimal(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 10);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<Time> parse_time(std::string_view text) {
  const std::size_t point = std::min(text.find('.'), text.size());
  std::string_view whole = text.substr(0, point);
  const bool negative = whole.starts_with('-');
  if (negative) whole.remove_prefix(1);
  const auto seconds = decimal(whole);
  if (!seconds || *seconds > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    return std::nullopt;

  std::string fraction(text.substr(std::min(point + 1, text.size())));
  fraction.resize(9, '0');
  const auto nanoseconds = decimal(fraction);
  if (!nanoseconds) return std::nullopt;

  Time time{static_cast<std::int64_t>(*seconds), static_cast<std::uint32_t>(*nanoseconds)};
  if (!negative) return time;
  if (time.nanoseconds == 0) return Time{-time.seconds, 0};
  return Time{-time.seconds - 1, 1'000'000'000 - time.nanoseconds};
}

}  // namespace images::tar
