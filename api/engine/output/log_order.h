// settle_log_order(): numbers the rotated files of a log in their order.
//
// A file keeps its number for good, so the newest has the highest one (log_files.h). An earlier
// version numbered them as Docker does: .1 is the newest, and each rotation renames all. Such a log
// would be read backwards.
// Threads: any; the log has no other use meanwhile.
#pragma once

#include <filesystem>

namespace engine {

/// Gives the files that an earlier version left the numbers that belong to them. They are told by
/// the times of their first lines: .1 is newer than another file, and from .1 up to a gap no file
/// is newer than the one before. If that does not hold, nothing is done. A call that was
/// interrupted is continued by the next one. Where the numbers are right, a call reads two first
/// lines, or nothing if there is no .1.
void settle_log_order(const std::filesystem::path& log);

}  // namespace engine
