// The bounds of what a guest may ask of the file server.
#pragma once

#include <chrono>
#include <cstddef>

namespace fileserver {

/// In bytes, without the NUL.
inline constexpr std::size_t kLongestName = 255;
inline constexpr std::size_t kLongestTarget = 4095;

inline constexpr std::size_t kLargestAttribute = std::size_t{64} << 10;
/// What one read, write or reading of a directory carries.
inline constexpr std::size_t kMostData = std::size_t{1} << 20;
/// What one copy_file_range copies; a guest asks again for what is missing.
inline constexpr std::size_t kMostCopied = std::size_t{64} << 20;

inline constexpr std::size_t kMostWaitingLocks = 256;
inline constexpr unsigned kThreads = 8;

/// Descriptors that are neither nodes nor handles nor locks: sockets, trees, and what requests open
/// for a moment.
inline constexpr std::size_t kReservedDescriptors = 256;

}  // namespace fileserver
