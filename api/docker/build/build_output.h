// BuildOutput: renders what a build tells as the classic builder does, in {"stream": ...} objects,
// and sends that to the client.
//
// Threads: the io_context thread. Memory: what a slow client has not taken is bounded, as the build
// awaits room(); with -q the output is kept for the case of an error, and no more than kMostQuiet.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "api/async/net.h"
#include "api/async/notifier.h"
#include "api/engine/build/build_events.h"
#include "api/http/exchange.h"
#include "vmm/base/result.h"

namespace docker::build {

struct Failure {
  base::Error error;
  int exit_code = 0;  // of the command that failed; 0: the error is not a command's
};

class BuildOutput final : public engine::build::BuildListener {
 public:
  BuildOutput(const net::any_io_executor& executor, bool quiet)
      : quiet_(quiet), changed_(executor) {}

  /// Takes an event. How transfers go is dropped if the client is too slow.
  void tell(const engine::build::BuildEvent& event) override;
  /// Completes when the client has taken enough, or has gone.
  net::awaitable<void> room() override;

  /// Ends the answer. With -q `image_id` is the whole of it.
  void finish(std::string_view image_id);
  void fail(Failure failure);

  /// Sends the answer as it comes. An error that comes before everything else is sent with a status
  /// of its own.
  net::awaitable<void> forward(http::Exchange& exchange);
  /// The client has gone: from now on everything is dropped.
  void abandon();
  bool ended() const { return ended_; }

 private:
  static constexpr std::size_t kMostWaiting = 256u << 10;
  static constexpr std::size_t kMostQuiet = 4u << 20;

  void render(const engine::build::ParserWarnings& warnings);
  void render(const engine::build::StepBegun& step);
  void render(const engine::build::StepEnded& step);
  void render(const engine::build::StageEnded& stage);
  void render(const engine::build::TriggersBegun& triggers);
  void render(const engine::build::CacheHit& hit);
  void render(const engine::build::ContainerBegun& begun);
  void render(const engine::build::ContainerRemoved& removed);
  void render(const engine::build::StepOutput& output);
  void render(const engine::build::HealthCheckReplaced& replaced);
  void render(const engine::build::TransferMessage& message);
  void render(const engine::build::TransferProgress& progress);
  void render(const engine::build::DownloadEnded& ended);
  void render(const engine::build::UnusedArguments& unused);
  void render(const engine::build::ImageBuilt& built);
  void render(const engine::build::ImageTagged& tagged);

  void stream(std::string_view text);
  void error_stream(std::string_view text);
  void status(const nlohmann::json& object);
  void put(std::string object);
  net::awaitable<bool> begin(http::Exchange& exchange);

  const bool quiet_;
  async::Notifier changed_;
  std::string waiting_;
  std::string kept_;  // with -q
  std::optional<Failure> failure_;
  bool ended_ = false;
  bool abandoned_ = false;
};

}  // namespace docker::build
