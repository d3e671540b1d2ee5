// FinishedStages: what the stages of a build have come to, for later ones that begin with them or
// copy from them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "vmm/base/result.h"

namespace engine::build {

struct StageResult {
  std::string name;  // in small letters; empty: it has none
  std::string image_id;
  nlohmann::json config;
};

class FinishedStages {
 public:
  void add(StageResult result) { results_.push_back(std::move(result)); }
  /// Finds a stage by its name, or, if `by_number`, by its number as well. Null if there is none;
  /// an Error for a number that no finished stage has. Valid until the next add().
  base::Result<const StageResult*> find(const std::string& name, bool by_number) const;

 private:
  std::vector<StageResult> results_;
};

}  // namespace engine::build
