// BuildOutput: what a build tells its client, as the classic builder does: {"stream": ...} objects.
//
// Threads: the io_context thread. Memory: what a slow client has not taken is bounded, if the build
// awaits room(); with -q the output is kept for the case of an error, and no more than kMostQuiet.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "api/async/net.h"
#include "api/async/notifier.h"
#include "api/http/exchange.h"
#include "vmm/base/result.h"

namespace docker::build {

struct Failure {
  base::Error error;
  int exit_code = 0;  // of a command; 0: the error is not one's
};

class BuildOutput {
 public:
  BuildOutput(const net::any_io_executor& executor, bool quiet)
      : quiet_(quiet), changed_(executor) {}

  void stream(std::string_view text);
  /// What a command wrote to its standard error.
  void error_stream(std::string_view text);
  void aux(std::string_view image_id);
  /// How a pull goes, as JsonTransferObserver puts it. Dropped if the client is too slow.
  void status(const nlohmann::json& object);
  /// Until the client has taken enough, or has gone.
  net::awaitable<void> room();

  /// The end. With -q `image_id` is the whole answer.
  void finish(std::string_view image_id);
  void fail(Failure failure);

  /// The answer, as it comes: an error that comes before everything else is one with a status.
  net::awaitable<void> forward(http::Exchange& exchange);
  /// Nobody listens any more.
  void abandon();
  bool ended() const { return ended_; }

 private:
  static constexpr std::size_t kMostWaiting = 256u << 10;
  static constexpr std::size_t kMostQuiet = 4u << 20;

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
