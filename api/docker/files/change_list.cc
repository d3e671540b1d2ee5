#include "api/docker/files/change_list.h"

#include <nlohmann/json.hpp>

#include "api/docker/files/tool_error.h"

namespace docker {

using base::Code;
using base::Error;
using base::Result;

namespace files = protocol::files;

namespace {

/// Paths may be longer than PATH_MAX where directories were made one in another.
constexpr std::size_t kLongestPath = 1u << 20;

bool is_path(const std::string& path) {
  return !path.empty() && path.front() != '/' && path.size() <= kLongestPath &&
         path.find('\0') == std::string::npos;
}

}  // namespace

Result<void> ChangeList::add(const wire::RawFrame& frame) {
  if (complete_) return Error{Code::kDataLoss, "the guest sent changes after the end"};
  switch (static_cast<files::FrameType>(frame.type)) {
    case files::FrameType::kChange: {
      const auto change = wire::decode<files::Change>(frame.payload);
      if (!change) return change.error();
      return add_change(*change);
    }
    case files::FrameType::kEnd:
      complete_ = true;
      text_ += any_ ? "]\n" : "null\n";
      return {};
    default:
      return tool_error(frame);
  }
}

Result<void> ChangeList::add_change(const files::Change& change) {
  if (!is_path(change.path) || change.kind > files::ChangeKind::kDeleted)
    return Error{Code::kDataLoss, "the guest sent a change that is none"};
  const nlohmann::json item{{"Path", "/" + change.path}, {"Kind", static_cast<int>(change.kind)}};
  text_ += any_ ? "," : "[";
  text_ += item.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  any_ = true;
  return {};
}

}  // namespace docker
