// The checks of a create request that need more than a field's type: ranges, combinations, words.
#pragma once

#include "api/engine/settings/settings.h"

namespace engine {

base::Result<void> check_settings(const Settings& settings);

/// The highest number in a list like "0-2,5"; nullopt if it is no such list.
std::optional<unsigned> highest_cpu(std::string_view list);

}  // namespace engine
