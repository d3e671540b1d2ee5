#include "api/engine/build/session.h"

#include <functional>

namespace engine::build {

using base::Code;
using base::Error;
using base::Result;

Error cancelled_error() { return {Code::kUnavailable, "Build cancelled"}; }

net::awaitable<Result<images::Image>> resolve_image(const Session& session, std::string name) {
  const std::function<Result<images::Image>()> call = [&store = session.parts.images, name] {
    return store.resolve(name);
  };
  co_return co_await session.parts.pool.run(call);
}

}  // namespace engine::build
