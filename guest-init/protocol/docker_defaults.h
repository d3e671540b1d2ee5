// The paths that Docker hides and write-protects in every container that is not privileged. The
// host sends its lists in PrepareContainer; guest-init covers the paths below before the machine is
// cloned, so a container with just these has nothing left to cover when it starts.
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
