// Small reads and writes of whole files, and decimal numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "vmm/base/result.h"

namespace guest_init {

/// Opens `path` (relative to `directory`, or AT_FDCWD) for writing and writes `text` with one
/// write(2), as the files of procfs and cgroupfs want it. Never creates.
base::Result<void> write_file_at(int directory, const std::string& path, std::string_view text);

/// Makes the file, or what it contains, anew.
base::Result<void> create_file(const std::string& path, std::string_view text);

/// Writes all of `text` to `fd`.
base::Result<void> write_all(int fd, std::string_view text);

/// The file's first `limit` bytes. Refuses what is not a regular file, so that a FIFO in a
/// container cannot stall guest-init.
base::Result<std::string> read_regular_file(const std::string& path, std::size_t limit);

/// The number that `text` consists of (digits only, no sign, no space); nullopt otherwise.
std::optional<std::uint64_t> parse_decimal(std::string_view text);

}  // namespace guest_init
