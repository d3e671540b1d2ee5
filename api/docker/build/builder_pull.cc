// Builder: images that a build needs and this host has not.
#include <boost/asio/post.hpp>
#include <functional>
#include <nlohmann/json.hpp>

#include "api/docker/build/builder.h"
#include "api/docker/image_routes.h"
#include "images/registry/registries.h"

namespace docker::build {

using base::Code;
using base::Result;
using images::Reference;
using nlohmann::json;

namespace {

/// Takes what the registry's threads tell to the io_context thread.
class Teller final : public registry::TransferObserver {
 public:
  Teller(net::any_io_executor executor, std::shared_ptr<BuildOutput> output)
      : executor_(std::move(executor)), output_(std::move(output)) {}

  void message(std::string_view id, std::string_view text) override {
    json object{{"status", text}};
    if (!id.empty()) object["id"] = id;
    post(std::move(object));
  }
  void update(std::string_view id, std::string_view action, std::uint64_t current,
              std::uint64_t total) override {
    json detail = json::object();
    if (total != 0) detail = {{"current", current}, {"total", total}};
    post({{"status", action}, {"progressDetail", std::move(detail)}, {"id", id}});
  }
  void pushed(std::string_view, std::string_view, std::uint64_t) override {}

 private:
  void post(json object) {
    net::post(executor_,
              [output = output_, object = std::move(object)] { output->status(object); });
  }

  const net::any_io_executor executor_;
  const std::shared_ptr<BuildOutput> output_;
};

}  // namespace

net::awaitable<Result<images::Image>> Builder::find_base(std::string name) {
  if (!options_.pull) {
    auto image = co_await resolve(name);
    if (image || image.error().code != Code::kNotFound) co_return image;
  }
  const auto reference = Reference::parse(name);
  if (!reference) co_return reference.error();
  const auto pulled = co_await pull(reference->with_default_tag());
  if (!pulled) co_return pulled.error();
  co_return co_await resolve(std::move(name));
}

net::awaitable<Result<void>> Builder::pull(Reference reference) {
  registry::PullRequest request{
      .reference = reference,
      .platform = std::nullopt,
      .credentials = registry::credentials_for(options_.credentials, reference.domain())};
  const auto teller = std::make_shared<Teller>(api_.containers.parts().executor, output_);
  const std::function<Result<void>()> call = [&registries = api_.registries, teller, request,
                                              stop = stop_pull_.get_token()] {
    return registries.pull(request, *teller, stop);
  };
  auto pulled = co_await api_.transfers.run(call);
  if (cancelled_) co_return cancelled_error();
  if (pulled)
    publish_image_event(api_, "pull", reference.familiar(), reference.familiar_repository());
  co_return pulled;
}

}  // namespace docker::build
