// The fields of tar headers: numbers, texts, checksums, pax records. All input is hostile.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vmm/base/result.h"

namespace images::tar {

struct Field {
  std::size_t offset = 0;
  std::size_t size = 0;
};

inline constexpr Field kName{0, 100}, kMode{100, 8}, kUid{108, 8}, kGid{116, 8}, kSize{124, 12},
    kMtime{136, 12}, kChecksum{148, 8}, kTypeFlag{156, 1}, kLinkName{157, 100}, kMagic{257, 8},
    kUserName{265, 32}, kGroupName{297, 32}, kDeviceMajor{329, 8}, kDeviceMinor{337, 8},
    kPrefix{345, 155};

/// The text of a field: up to its first NUL.
std::string text(std::span<const std::byte> header, Field field);

/// Octal text, or base-256 if the first bit is set. nullopt if it is neither or does not fit.
std::optional<std::int64_t> number(std::span<const std::byte> header, Field field);

/// Whether the header's checksum matches (summed as unsigned, or as signed by ancient tars).
bool checksum_matches(std::span<const std::byte> header);

/// "<length> <key>=<value>\n" records, in order.
base::Result<std::vector<std::pair<std::string, std::string>>> parse_pax(std::string_view text);

/// A whole string as a decimal number. nullopt if it is not one, or is negative.
std::optional<std::uint64_t> decimal(std::string_view text);

struct Time {
  std::int64_t seconds = 0;
  std::uint32_t nanoseconds = 0;
};

/// "1700000000.25", possibly negative; digits beyond nanoseconds are dropped.
std::optional<Time> parse_time(std::string_view text);

}  // namespace images::tar
