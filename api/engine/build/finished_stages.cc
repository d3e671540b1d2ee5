#include "api/engine/build/finished_stages.h"

#include <charconv>

#include "vmm/base/letters.h"

namespace engine::build {

using base::Code;
using base::Error;
using base::Result;

Result<const StageResult*> FinishedStages::find(const std::string& name, bool by_number) const {
  const std::string wanted = base::lower_case(name);
  for (const StageResult& result : results_)
    if (!result.name.empty() && result.name == wanted) return &result;
  std::size_t number = 0;
  const char* const last = name.data() + name.size();
  const auto [end, error] = std::from_chars(name.data(), last, number);
  if (!by_number || error != std::errc() || end != last) return nullptr;
  if (number < results_.size()) return &results_[number];
  return Error{Code::kInvalidArgument,
               "invalid from flag value " + name +
                   (number == results_.size() ? ": refers to current build stage"
                                              : ": index out of bounds")};
}

}  // namespace engine::build
