// Errors that have no other place to go: the kernel log, which the monitor keeps the end of.
#pragma once

#include <string_view>

namespace guest_init {

/// Writes one sentence to /dev/kmsg, or to standard error where there is none.
void log_error(std::string_view sentence);

}  // namespace guest_init
