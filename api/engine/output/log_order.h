// The order of a log's rotated files.
//
// A file keeps its number for good, so the newest has the highest one (log_files.h). An earlier
// version numbered them as Docker does: .1 is the newest, and each rotation renamed all. Read
// by their numbers, the logs that it left would be read backwards.
// Threads: any; the log has no other use meanwhile.
#pragma once

#include <filesystem>

namespace engine {

/// Gives files that an earlier version left the numbers that they have now. Which they have is told
/// by the times of their first lines: .1 is newer than another one, and none from .1 on, up to a
/// gap, is newer than the one before. Nothing is done otherwise. Interrupted, the next call goes
/// on. Files that are numbered as they are now cost two of these times, or nothing without a .1.
void settle_log_order(const std::filesystem::path& log);

}  // namespace engine
