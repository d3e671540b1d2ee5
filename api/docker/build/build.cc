// build: POST /build, /build/cancel, /build/prune, as clients without BuildKit use them.
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <functional>
#include <map>

#include "api/async/shield.h"
#include "api/docker/api.h"
#include "api/docker/build/builder.h"
#include "api/docker/byte_bridge.h"
#include "api/docker/image_routes.h"
#include "images/dockerfile/patterns.h"
#include "images/dockerfile/text.h"
#include "images/store/decompress.h"
#include "vmm/base/scope_exit.h"

namespace docker {

using base::Code;
using base::Error;
using base::Result;
using http::Exchange;
using http::Request;
using http::Response;
using http::Status;
using nlohmann::json;
using namespace net::experimental::awaitable_operators;  // NOLINT: operator&& only

namespace {

using build::Builder;
using build::BuildOptions;
using build::BuildOutput;
using build::FileTree;
using build::TreePtr;

constexpr std::uint64_t kMaxContextBytes = std::uint64_t{64} << 30;
constexpr std::uint64_t kMaxDockerfileBytes = 1u << 20;

/// Builds under way that a client may cancel by their name.
using Builds = std::map<std::string, std::weak_ptr<Builder>>;

/// What came as the request's body, decompressed and indexed.
struct Input {
  TreePtr context;
  dockerfile::Dockerfile dockerfile;
};

Result<std::uint64_t> spool(images::ByteSource& source, int file) {
  images::FdSink sink(file);
  std::vector<std::byte> buffer(128u << 10);
  for (std::uint64_t total = 0;;) {
    const auto got = source.read(buffer);
    if (!got) return got.error();
    if (*got == 0) return total;
    total += *got;
    if (total > kMaxContextBytes)
      return Error{Code::kResourceExhausted, "the build context is larger than the limit"};
    if (auto written = sink.write(std::span(buffer).first(*got)); !written)
      return std::move(written).error();
  }
}

/// The context's bytes, without their compression.
Result<FileTree> read_context(images::Store& store, const std::string& directory,
                              images::ByteSource& body) {
  auto file = build::spool_file(directory);
  if (!file) return std::move(file).error();
  auto bytes = spool(body, file->get());
  if (!bytes) return std::move(bytes).error();
  std::array<std::byte, 6> first{};
  images::RangeSource head(file->get(), 0, *bytes);
  const auto got = images::read_fully(head, first);
  if (!got) return got.error();
  if (images::sniff_compression(std::span(first).first(*got)) != images::Compression::kNone) {
    auto plain = build::spool_file(directory);
    if (!plain) return std::move(plain).error();
    bytes = store.decompress(file->get(), 0, *bytes, plain->get());
    if (!bytes) return std::move(bytes).error();
    file = std::move(plain);
  }
  return FileTree::read(std::make_shared<base::UniqueFd>(*std::move(file)), *bytes);
}

/// The text of a file of the context; nullopt if it is not there.
Result<std::optional<std::string>> text_of(const FileTree& tree, const std::string& name) {
  const auto path = tree.resolve(name);
  const build::TreeNode* node = path ? tree.find(*path) : nullptr;
  if (node == nullptr || node->entry.kind != protocol::files::EntryKind::kFile)
    return std::optional<std::string>();
  if (node->entry.size > kMaxDockerfileBytes)
    return Error{Code::kResourceExhausted, name + " is larger than the limit"};
  std::string text(static_cast<std::size_t>(node->entry.size), '\0');
  RETURN_IF_ERROR(tree.contents(*node, 0, std::as_writable_bytes(std::span(text))));
  return std::optional<std::string>(std::move(text));
}

Result<dockerfile::Dockerfile> parse_dockerfile(const std::string& name, const std::string& text) {
  if (text.empty())
    return Error{Code::kInvalidArgument, "the Dockerfile (" + name + ") cannot be empty"};
  const auto parsed = dockerfile::parse(text);
  if (!parsed) return base::annotate(parsed.error(), "failed to parse " + name);
  return dockerfile::stages_of(*parsed);
}

/// The client leaves out what .dockerignore names, but for these two, which the host needs.
Result<void> leave_out(FileTree& tree, const std::string& dockerfile) {
  const auto text = text_of(tree, ".dockerignore");
  if (!text) return text.error();
  if (!*text) return {};
  const auto list = dockerfile::IgnoreList::parse(**text);
  if (!list) return list.error();
  for (const std::string& name : {std::string(".dockerignore"), dockerfile})
    if (list->ignores(name)) tree.remove(dockerfile::clean_path("/" + name).substr(1));
  return {};
}

Result<Input> read_input(images::Store& store, const std::string& directory,
                         images::ByteSource& body, std::string name) {
  auto tree = read_context(store, directory, body);
  if (!tree) return base::annotate(std::move(tree), "Error processing tar file");
  auto text = text_of(*tree, name);
  if (text && !*text && name == "Dockerfile") {
    name = "dockerfile";
    text = text_of(*tree, name);
    if (text && !*text) name = "Dockerfile";
  }
  if (!text) return std::move(text).error();
  if (!*text) return Error{Code::kInternal, "Cannot locate specified Dockerfile: " + name};
  auto parsed = parse_dockerfile(name, **text);
  if (!parsed) return std::move(parsed).error();
  RETURN_IF_ERROR(leave_out(*tree, name));
  return Input{.context = std::make_shared<const FileTree>(*std::move(tree)),
               .dockerfile = *std::move(parsed)};
}

net::awaitable<void> read_body(Exchange& exchange, net::local::stream_protocol::socket into,
                               std::shared_ptr<std::atomic<bool>> whole) {
  [[maybe_unused]] const auto sent = co_await pump_body(exchange, std::move(into), whole);
}

net::awaitable<void> take_input(Api& api, std::shared_ptr<base::UniqueFd> socket,
                                std::shared_ptr<std::atomic<bool>> whole, std::string name,
                                std::shared_ptr<Result<Input>> input) {
  const std::function<Result<Input>()> call = [&store = api.images, socket, whole, name,
                                               directory = api.state_directory] {
    WholeSource body(socket->get(), *whole, "the build context broke off");
    auto read = read_input(store, directory, body, name);
    socket->reset();
    return read;
  };
  *input = co_await api.streams.run(call);
}

net::awaitable<Result<void>> tag_image(Api& api, std::string id, std::vector<std::string> tags,
                                       std::shared_ptr<BuildOutput> output) {
  for (const std::string& tag : tags) {
    const std::function<Result<std::string>()> call = [&store = api.images, id, tag] {
      return store.tag(id, tag);
    };
    const auto tagged = co_await api.pool.run(call);
    if (!tagged) co_return tagged.error();
    publish_image_event(api, "tag", id, tag);
    output->stream("Successfully tagged " + tag + "\n");
  }
  co_return Result<void>();
}

net::awaitable<void> run(Api& api, std::shared_ptr<Builder> builder,
                         dockerfile::Dockerfile dockerfile, std::vector<std::string> tags,
                         std::shared_ptr<BuildOutput> output) {
  const auto id = co_await builder->run(std::move(dockerfile));
  Result<void> done = id ? Result<void>() : Result<void>(id.error());
  if (id) {
    output->stream("Successfully built " + build::short_id(*id) + "\n");
    done = co_await tag_image(api, *id, std::move(tags), output);
  }
  if (done) {
    output->finish(*id);
  } else {
    output->fail({.error = done.error(), .exit_code = builder->exit_code()});
  }
}

/// Ends the build when its client has gone.
struct Listener {
  std::shared_ptr<Builder> builder;
  std::shared_ptr<BuildOutput> output;
  bool served = false;
  ~Listener() {
    if (served) return;
    output->abandon();
    builder->cancel();
  }
};

net::awaitable<void> serve(Exchange& exchange, std::shared_ptr<Builder> builder,
                           std::shared_ptr<BuildOutput> output) {
  Listener listener{.builder = builder, .output = output};
  co_await output->forward(exchange);
  listener.served = output->ended();
}

// POST /build
//   200 and a stream of what happens, possibly with an error · 400 a bad parameter, Dockerfile or
//   context
net::awaitable<void> start_build(Api& api, std::shared_ptr<Builds> builds, Exchange& exchange) {
  auto options = build::parse_build_options(exchange.request().query);
  if (options && !options->remote.empty())
    options = Error{Code::kNotSupported,
                    "building from a URL or a repository is not supported: send the build context "
                    "with the request"};
  if (options) {
    auto credentials = registry::parse_config_header(
        exchange.request().headers.get("X-Registry-Config").value_or(""));
    if (credentials)
      options->credentials = *std::move(credentials);
    else
      options = std::move(credentials).error();
  }
  auto bridge = ByteBridge::make(api.containers.parts().executor);
  if (!options || !bridge) {
    Response refusal = http::error_response(options ? bridge.error() : options.error());
    co_await exchange.respond(std::move(refusal));
    co_return;
  }
  const auto socket = std::make_shared<base::UniqueFd>(std::move(bridge->blocking_side));
  const auto input =
      std::make_shared<Result<Input>>(Error{Code::kUnavailable, "the build was interrupted"});
  const auto whole = std::make_shared<std::atomic<bool>>(false);
  co_await (read_body(exchange, std::move(bridge->coroutine_side), whole) &&
            take_input(api, socket, whole, options->dockerfile, input));
  if (!*input) {
    co_await exchange.respond(http::error_response(input->error()));
    co_return;
  }
  // Also a client that is behind a relay, which tells its end by the end of its input only.
  exchange.end_with_input();
  const auto output =
      std::make_shared<BuildOutput>(api.containers.parts().executor, options->quiet);
  const std::vector<std::string> tags = options->tags;
  const std::string name = options->build_id;
  const auto builder =
      std::make_shared<Builder>(api, *std::move(options), output, (*input)->context);
  if (!name.empty()) (*builds)[name] = builder;
  // However this ends, also with the client; another build may have taken the name meanwhile.
  const base::ScopeExit forget([&] {
    const auto named = builds->find(name);
    if (named != builds->end() && named->second.lock() == builder) builds->erase(named);
  });
  co_await (async::shielded(run(api, builder, (*input)->dockerfile, tags, output)) &&
            serve(exchange, builder, output));
}

// POST /build/cancel?id=
//   200 whether there is such a build or not · 500 no name given
net::awaitable<Response> cancel_build(std::shared_ptr<Builds> builds, Request request) {
  const std::string id = request.query.get_or("id", "");
  if (id.empty()) co_return http::error_response(Status::kInternalError, "build ID not provided");
  if (const auto found = builds->find(id); found != builds->end())
    if (const auto builder = found->second.lock()) builder->cancel();
  co_return http::empty(Status::kOk);
}

// POST /build/prune: what builds leave are images, which images/prune removes.
net::awaitable<Response> prune_builds(Request) {
  co_return http::json(Status::kOk, json{{"CachesDeleted", nullptr}, {"SpaceReclaimed", 0}});
}

}  // namespace

void add_build_routes(http::Router& router, Api& api) {
  const auto builds = std::make_shared<Builds>();
  router.add_stream("POST", "/build", std::bind_front(start_build, std::ref(api), builds));
  router.add("POST", "/build/cancel", std::bind_front(cancel_build, builds));
  router.add("POST", "/build/prune", prune_builds);
}

}  // namespace docker
