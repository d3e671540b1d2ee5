#include "api/docker/files/change_list.h"

#include <nlohmann/json.hpp>

namespace docker {

void ChangeList::add(const engine::FileChange& change) {
  const nlohmann::json item{{"Path", change.path}, {"Kind", static_cast<int>(change.kind)}};
  text_ += any_ ? "," : "[";
  text_ += item.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  any_ = true;
}

void ChangeList::finish() { text_ += any_ ? "]\n" : "null\n"; }

}  // namespace docker
