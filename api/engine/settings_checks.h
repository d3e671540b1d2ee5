// The checks of a create request that need more than a field's type: ranges, combinations, words.
#pragma once

#include "api/engine/settings.h"

namespace engine {

base::Result<void> check_settings(const Settings& settings);

}  // namespace engine
