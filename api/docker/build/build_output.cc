#include "api/docker/build/build_output.h"

#include <nlohmann/json.hpp>
#include <variant>

#include "images/dockerfile/text.h"

namespace docker::build {

using nlohmann::json;

namespace events = engine::build;

namespace {

std::string short_id(std::string_view id) {
  constexpr std::size_t kShort = 12;
  if (id.starts_with("sha256:")) id.remove_prefix(7);
  return std::string(id.substr(0, kShort));
}

}  // namespace

void BuildOutput::tell(const events::BuildEvent& event) {
  std::visit([this](const auto& one) { render(one); }, event);
}

void BuildOutput::render(const events::ParserWarnings& warnings) {
  error_stream(dockerfile::joined(warnings.lines, "\n") + "\n");
}

void BuildOutput::render(const events::StepBegun& step) {
  stream("Step " + std::to_string(step.number) + "/" + std::to_string(step.of) + " : " + step.text);
  stream("\n");
}

void BuildOutput::render(const events::StepEnded& step) {
  stream(" ---> " + short_id(step.image) + "\n");
}

void BuildOutput::render(const events::StageEnded& stage) {
  put(http::dump_json({{"aux", {{"ID", stage.image}}}}));
}

void BuildOutput::render(const events::TriggersBegun& triggers) {
  stream("# Executing " + std::to_string(triggers.count) + " build trigger" +
         (triggers.count > 1 ? "s" : ""));
  stream("\n");
}

void BuildOutput::render(const events::CacheHit& /*hit*/) { stream(" ---> Using cache\n"); }

void BuildOutput::render(const events::ContainerBegun& begun) {
  stream(" ---> Running in " + short_id(begun.container) + "\n");
}

void BuildOutput::render(const events::ContainerRemoved& removed) {
  stream(" ---> Removed intermediate container " + short_id(removed.container) + "\n");
}

void BuildOutput::render(const events::StepOutput& output) {
  if (output.is_error) {
    error_stream(output.text);
  } else {
    stream(output.text);
  }
}

void BuildOutput::render(const events::HealthCheckReplaced& replaced) {
  stream("Note: overriding previous HEALTHCHECK: " + dockerfile::plain_list(replaced.test) + "\n");
}

void BuildOutput::render(const events::TransferMessage& message) {
  json object{{"status", message.text}};
  if (!message.id.empty()) object["id"] = message.id;
  status(object);
}

void BuildOutput::render(const events::TransferProgress& progress) {
  json detail = json::object();
  if (progress.total != 0) detail = {{"current", progress.current}, {"total", progress.total}};
  json object{{"status", progress.action}, {"progressDetail", std::move(detail)}};
  if (!progress.id.empty()) object["id"] = progress.id;
  status(object);
}

void BuildOutput::render(const events::DownloadEnded& /*ended*/) { stream("\n"); }

void BuildOutput::render(const events::UnusedArguments& unused) {
  stream("[Warning] One or more build-args " + dockerfile::plain_list(unused.names) +
         " were not consumed\n");
}

void BuildOutput::render(const events::ImageBuilt& built) {
  stream("Successfully built " + short_id(built.image) + "\n");
}

void BuildOutput::render(const events::ImageTagged& tagged) {
  stream("Successfully tagged " + tagged.name + "\n");
}

void BuildOutput::put(std::string object) {
  if (abandoned_) return;
  std::string& into = quiet_ ? kept_ : waiting_;
  if (quiet_ && kept_.size() > kMostQuiet) return;
  into += std::move(object) + "\r\n";
  changed_.notify_all();
}

void BuildOutput::stream(std::string_view text) { put(http::dump_json({{"stream", text}})); }

void BuildOutput::error_stream(std::string_view text) {
  stream("\x1b[91m" + std::string(text) + "\x1b[0m");
}

void BuildOutput::status(const nlohmann::json& object) {
  if (!quiet_ && waiting_.size() <= kMostWaiting) put(http::dump_json(object));
}

net::awaitable<void> BuildOutput::room() {
  while (!abandoned_ && waiting_.size() > kMostWaiting) co_await changed_.wait();
}

void BuildOutput::finish(std::string_view image_id) {
  if (quiet_) waiting_ += http::dump_json({{"stream", std::string(image_id) + "\n"}}) + "\r\n";
  ended_ = true;
  changed_.notify_all();
}

void BuildOutput::fail(Failure failure) {
  waiting_ += std::exchange(kept_, {});
  failure_ = std::move(failure);
  ended_ = true;
  changed_.notify_all();
}

void BuildOutput::abandon() {
  abandoned_ = true;
  waiting_.clear();
  changed_.notify_all();
}

net::awaitable<bool> BuildOutput::begin(http::Exchange& exchange) {
  while (waiting_.empty() && !ended_) co_await changed_.wait();
  if (waiting_.empty() && failure_) {
    co_await exchange.respond(http::error_response(failure_->error));
    co_return false;
  }
  http::Response head{.status = http::Status::kOk, .content_type = "application/json"};
  const auto begun = co_await exchange.begin_stream(std::move(head));
  co_return begun.has_value();
}

net::awaitable<void> BuildOutput::forward(http::Exchange& exchange) {
  const bool begun = co_await begin(exchange);
  while (begun) {
    const std::string ready = std::exchange(waiting_, {});
    const bool last = ended_;
    changed_.notify_all();
    if (!ready.empty()) {
      const auto written = co_await exchange.write(std::string_view(ready));
      if (!written) co_return;
    }
    if (last) break;
    if (waiting_.empty() && !ended_) co_await changed_.wait();
  }
  if (!begun || !failure_) co_return;
  json detail{{"message", failure_->error.message}};
  if (failure_->exit_code != 0) detail["code"] = failure_->exit_code;
  const std::string text =
      http::dump_json({{"errorDetail", detail}, {"error", failure_->error.message}}) + "\r\n";
  co_await exchange.write(std::string_view(text));
}

}  // namespace docker::build
