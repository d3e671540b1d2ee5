// Linux capabilities by name, and Docker's rules for adding and dropping them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"

namespace engine {

/// Bit n = CAP_n. What a container gets unless it asks for more or less.
inline constexpr std::uint64_t kDefaultCapabilities = 0xa80425fb;
inline constexpr std::uint64_t kAllCapabilities = (std::uint64_t{1} << 41) - 1;

/// Defaults plus `add` minus `drop`; "ALL" in either; names with or without "CAP_", any case.
/// kInvalidArgument for an unknown name.
base::Result<std::uint64_t> capabilities_for(const std::vector<std::string>& add,
                                             const std::vector<std::string>& drop, bool privileged);

/// The bit of a capability by its full name ("CAP_SYS_ADMIN"); 0 if there is none of that name.
std::uint64_t capability_bit(std::string_view name);

}  // namespace engine
