#include "api/engine/build/builds.h"

#include <functional>

#include "api/engine/build/builder.h"
#include "api/engine/images/image_events.h"
#include "vmm/base/scope_exit.h"

namespace engine::build {

using base::Result;

namespace {

net::awaitable<Result<void>> tag_image(const Session& session, std::string id) {
  for (const std::string& tag : session.options.tags) {
    const std::function<Result<std::string>()> call = [&store = session.parts.images, id, tag] {
      return store.tag(id, tag);
    };
    const auto tagged = co_await session.parts.pool.run(call);
    if (!tagged) co_return tagged.error();
    publish_image_event(session.parts.events, "tag", id, tag);
    session.tell(ImageTagged{.name = tag});
  }
  co_return Result<void>();
}

}  // namespace

net::awaitable<BuildOutcome> Builds::run(BuildOptions options, BuildInput input,
                                         std::shared_ptr<BuildListener> listener,
                                         std::stop_source stop) {
  const std::string id = options.build_id;
  if (!id.empty()) named_.insert_or_assign(id, stop);
  // Another build may have taken the ID meanwhile.
  const base::ScopeExit forget([&] {
    const auto named = named_.find(id);
    if (named != named_.end() && named->second == stop) named_.erase(named);
  });
  const Session session{.parts = parts_,
                        .options = std::move(options),
                        .listener = std::move(listener),
                        .stop = stop.get_token()};
  Builder builder(session, std::move(input.context));
  auto image = co_await builder.run(std::move(input.dockerfile));
  if (image) {
    session.tell(ImageBuilt{.image = *image});
    const auto tagged = co_await tag_image(session, *image);
    if (!tagged) image = tagged.error();
  }
  BuildOutcome outcome{.image = std::move(image), .exit_code = builder.exit_code()};
  co_return outcome;
}

void Builds::cancel(const std::string& id) {
  if (const auto found = named_.find(id); found != named_.end()) found->second.request_stop();
}

}  // namespace engine::build
