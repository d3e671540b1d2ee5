#include "api/docker/build/build_output.h"

#include <nlohmann/json.hpp>

namespace docker::build {

using base::Result;
using nlohmann::json;

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

void BuildOutput::aux(std::string_view image_id) {
  put(http::dump_json({{"aux", {{"ID", image_id}}}}));
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
