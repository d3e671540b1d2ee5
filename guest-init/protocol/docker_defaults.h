// The paths Docker hides and write-protects in every container that is not privileged. The host
// sends them in PrepareContainer; guest-init covers these before it knows the container, so that a
// start with exactly them has nothing left to do.
#pragma once

#include <array>
#include <string_view>

namespace protocol {

inline constexpr std::array<std::string_view, 12> kDefaultMaskedPaths = {
    "/proc/asound",      "/proc/acpi",          "/proc/interrupts", "/proc/kcore",
    "/proc/keys",        "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
    "/proc/sched_debug", "/proc/scsi",          "/sys/firmware",    "/sys/devices/virtual/powercap",
};

inline constexpr std::array<std::string_view, 5> kDefaultReadOnlyPaths = {
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};

}  // namespace protocol
