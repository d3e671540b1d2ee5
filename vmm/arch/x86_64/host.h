// What of a host the saved state of a machine depends on.
#pragma once

#include <string>
#include <string_view>

namespace x86_64 {

inline constexpr std::string_view kName = "x86_64";

/// The model, microcode and features of the first processor, and the release of the kernel, whose
/// KVM saves and restores. Reads /proc; any thread.
std::string host_identity();

}  // namespace x86_64
