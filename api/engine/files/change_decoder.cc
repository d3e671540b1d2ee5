#include "api/engine/files/change_decoder.h"

#include "api/engine/files/tool_error.h"

namespace engine {

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

Result<std::optional<FileChange>> ChangeDecoder::take(const wire::RawFrame& frame) {
  if (ended_) return Error{Code::kDataLoss, "the guest sent changes after the end"};
  switch (static_cast<files::FrameType>(frame.type)) {
    case files::FrameType::kChange: {
      const auto change = wire::decode<files::Change>(frame.payload);
      if (!change) return change.error();
      if (!is_path(change->path) || change->kind > files::ChangeKind::kDeleted)
        return Error{Code::kDataLoss, "the guest sent a change with a bad path or kind"};
      return std::optional(FileChange{.path = "/" + change->path, .kind = change->kind});
    }
    case files::FrameType::kEnd:
      ended_ = true;
      return std::optional<FileChange>();
    default:
      return tool_error(frame);
  }
}

}  // namespace engine
