#include "api/engine/files/tool_error.h"

#include "guest-init/protocol/files.h"

namespace engine {

using base::Code;
using base::Error;

namespace files = protocol::files;

Error tool_error(const wire::RawFrame& frame) {
  constexpr std::size_t kLongest = 512;
  const auto failed = wire::decode<files::Failed>(frame.payload);
  if (static_cast<files::FrameType>(frame.type) != files::FrameType::kFailed || !failed)
    return Error{Code::kInternal, "the files tool of the machine gave an unknown answer"};
  const bool refused = failed->kind == files::FailureKind::kRefused;
  return Error{refused ? Code::kInvalidArgument : Code::kInternal,
               failed->message.substr(0, kLongest)};
}

}  // namespace engine
