// Builder: containers.
#include <spdlog/spdlog.h>

#include <csignal>

#include "api/async/shield.h"
#include "api/docker/build/builder.h"
#include "api/docker/build/cache.h"
#include "api/docker/images/layer_commit.h"
#include "images/dockerfile/text.h"

namespace docker::build {

using base::Code;
using base::Error;
using base::Result;
using dockerfile::Instruction;
using engine::ContainerPtr;
using nlohmann::json;

namespace {

/// How many bytes at the end of `bytes` begin a character that is not finished.
std::size_t unfinished(std::string_view bytes) {
  for (std::size_t back = 1; back <= 3 && back <= bytes.size(); ++back) {
    const auto byte = static_cast<unsigned char>(bytes[bytes.size() - back]);
    if ((byte & 0xc0u) == 0x80u) continue;
    const std::size_t needed = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return needed > back ? back : 0;
  }
  return 0;
}

net::awaitable<void> kill(engine::Containers& containers, ContainerPtr container) {
  const auto killed = co_await containers.kill(container, SIGKILL);
  if (!killed) spdlog::debug("cancel a build: {}", killed.error().message);
}

}  // namespace

void Builder::cancel() {
  if (std::exchange(cancelled_, true)) return;
  stop_.request_stop();
  if (running_) tasks_.spawn("cancel a build", kill(api_.containers, running_));
}

/// The image so far; where there is none yet, one without files that is removed with the step.
net::awaitable<Result<std::string>> Builder::image_for_container() {
  if (!state_.image_id.empty()) co_return state_.image_id;
  json config = state_.config;
  const auto made = co_await commit_config_only(api_, commit_options(config, ""));
  if (!made) co_return made.error();
  temporary_images_.push_back(made->id);
  co_return made->id;
}

net::awaitable<Result<ContainerPtr>> Builder::make_container(json body, bool files_only) {
  const auto image = co_await image_for_container();
  if (!image) co_return image.error();
  body["Image"] = *image;
  auto settings = engine::parse_settings(body);
  if (!settings) co_return std::move(settings).error();
  engine::CreateRequest request{
      .name = {}, .settings = *std::move(settings), .of_build = true, .files_only = files_only};
  auto container = co_await api_.containers.create(std::move(request));
  if (container) intermediates_.push_back({.id = (*container)->id, .container = *container});
  co_return container;
}

net::awaitable<void> Builder::remove_intermediates(bool failed) {
  const bool removes = failed ? options_.force_remove : options_.remove;
  for (const Intermediate& intermediate : std::exchange(intermediates_, {})) {
    const bool told = !intermediate.id.empty();
    if (removes && told)
      output_->stream(" ---> Removed intermediate container " + short_id(intermediate.id) + "\n");
    const ContainerPtr container = intermediate.container;
    if (!container) continue;
    if (removes || !told || cancelled_) {
      const auto removed =
          co_await api_.containers.remove(container, {.force = true, .volumes = true});
      if (!removed && !container->removed)
        spdlog::error("remove {}: {}", container->short_id(), removed.error().message);
    } else if (auto kept = api_.containers.keep_after_build(container); !kept) {
      spdlog::error("{}", kept.error().message);
    }
  }
  for (const std::string& image : std::exchange(temporary_images_, {})) {
    const std::function<Result<void>()> call = [&store = api_.images, image]() -> Result<void> {
      // A container that is kept needs it.
      if (auto removed = store.remove(image, {}); !removed) return std::move(removed).error();
      return {};
    };
    [[maybe_unused]] const auto removed = co_await api_.threads.pool.run(call);
  }
}

Builder::Step Builder::run_command(const Instruction& instruction) {
  if (!instruction.flags.empty())
    co_return Error{Code::kInvalidArgument,
                    "the --" + instruction.flags.begin()->first +
                        " option requires BuildKit. Refer to "
                        "https://docs.docker.com/go/buildkit/ to learn how to build images with "
                        "BuildKit enabled"};
  const std::vector<std::string> command = dockerfile::command_line(instruction, state_.config);
  const std::vector<std::string> env = dockerfile::strings_of(state_.config, "Env");
  const std::vector<std::string> arguments = arguments_.beside(env);
  std::vector<std::string> told = command;
  if (!arguments.empty()) {
    std::vector<std::string> named;
    for (const std::string& argument : arguments)
      if (arguments_.is_told(argument.substr(0, argument.find('=')))) named.push_back(argument);
    std::sort(named.begin(), named.end());
    named.insert(named.begin(), "|" + std::to_string(named.size()));
    told.insert(told.begin(), named.begin(), named.end());
  }
  json config = with_command(told);
  if (!told.empty()) config["Entrypoint"] = nullptr;
  const auto hit = co_await is_cached(config);
  if (!hit) co_return hit.error();
  if (*hit) co_return Result<void>();

  std::vector<std::string> variables = env;
  variables.insert(variables.end(), arguments.begin(), arguments.end());
  json body{{"Cmd", command},
            {"Entrypoint", {""}},
            {"Env", variables},
            {"User", state_.config.value("User", "")},
            {"WorkingDir", state_.config.value("WorkingDir", "")},
            {"Healthcheck", {{"Test", {"NONE"}}}},
            {"HostConfig", options_.host_config}};
  const auto container = co_await make_container(std::move(body), /*files_only=*/false);
  if (!container) co_return container.error();
  output_->stream(" ---> Running in " + (*container)->short_id() + "\n");
  auto ran = co_await run_container(*container);
  if (!ran) co_return ran;
  if (const int code = (*container)->state.exit_code; code != 0) {
    exit_code_ = code;
    co_return Error{Code::kInvalidArgument,
                    "The command '" + dockerfile::joined(command, " ") +
                        "' returned a non-zero code: " + std::to_string(code)};
  }
  // What it wrote into the image's volumes is lost with the container.
  auto frames = std::make_unique<ToolFrames>(
      start_reading_changes(api_.containers.files(), *container, "layer"));
  images::CommitOptions options = commit_options(config, (*container)->id);
  const auto made = co_await commit_layer(api_, std::move(frames), std::move(options),
                                          ContainerPtr(), stop_.get_token());
  if (!made) co_return made.error();
  state_.image_id = made->id;
  co_return Result<void>();
}

Builder::Step Builder::run_container(ContainerPtr container) {
  auto attachment = container->output->attach(true, true);
  const std::uint64_t exits = container->exits;
  running_ = container;
  const auto started = co_await api_.containers.start(container);
  if (!started) {
    running_.reset();
    co_return started.error();
  }
  // Cancelled before there was anything to kill.
  if (cancelled_) tasks_.spawn("cancel a build", kill(api_.containers, container));
  co_await forward(std::move(attachment));
  [[maybe_unused]] const auto result =
      co_await engine::wait(container, engine::WaitCondition::kNotRunning, exits);
  running_.reset();
  if (cancelled_) co_return cancelled_error();
  co_return Result<void>();
}

net::awaitable<void> Builder::forward(std::unique_ptr<engine::Attachment> attachment) {
  std::string held[2];  // the beginning of a character whose end has not come
  for (;;) {
    const auto chunk = co_await attachment->next();
    if (!chunk) break;
    const bool error = chunk->stream == protocol::Stream::kStderr;
    std::string& text = held[error ? 1 : 0];
    text.append(reinterpret_cast<const char*>(chunk->bytes.data()), chunk->bytes.size());
    const std::size_t whole = text.size() - unfinished(text);
    if (whole == 0) continue;
    const std::string_view ready = std::string_view(text).substr(0, whole);
    if (error) {
      output_->error_stream(ready);
    } else {
      output_->stream(ready);
    }
    text.erase(0, whole);
    co_await output_->room();
  }
  if (!held[0].empty()) output_->stream(held[0]);
  if (!held[1].empty()) output_->error_stream(held[1]);
}

Builder::Step Builder::make_workdir(const Instruction& instruction) {
  const auto said = state_.changes.apply(instruction, state_.config);
  if (!said) co_return said.error();
  const json config = with_comment({"#(nop) " + *said});
  const auto hit = co_await is_cached(config);
  if (!hit) co_return hit.error();
  if (*hit) co_return Result<void>();
  json body{{"Cmd", {"true"}}};
  const auto container = co_await make_container(std::move(body), /*files_only=*/true);
  if (!container) co_return container.error();
  output_->stream(" ---> Running in " + (*container)->short_id() + "\n");
  CopyPlan plan{.sources = {},
                .destination = state_.config.at("WorkingDir").get<std::string>(),
                .owner = "0:0",
                .extracts = false};
  co_return co_await commit_copy(*container, std::move(plan),
                                 commit_options(as_created(config), (*container)->id));
}

}  // namespace docker::build
