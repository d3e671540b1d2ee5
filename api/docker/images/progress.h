// Progress: collects the JSON objects that a long image operation answers with, and streams them.
//
// Threads: say() and close() from the threads that work, the rest on the io_context thread.
// Memory: what a slow client has not taken is bounded; progress that does not fit is dropped,
// results are not (there are at most as many as images).
// Spec: Docker Engine API, "progress details".
#pragma once

#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "api/async/net.h"
#include "api/async/notifier.h"
#include "api/http/exchange.h"
#include "vmm/base/result.h"

namespace docker {

class Progress : public std::enable_shared_from_this<Progress> {
 public:
  explicit Progress(const net::any_io_executor& executor)
      : executor_(executor), changed_(executor) {}

  /// A result: {"stream": ...}, {"status": ...}.
  void say(const nlohmann::json& object) { append(object, false); }
  /// How far something is; may be dropped.
  void report(const nlohmann::json& object) { append(object, true); }
  /// The error that ended the operation, as the last object.
  void fail(const base::Error& error);
  /// No more will come.
  void close();

  /// Waits until something was said: false if it was closed before.
  net::awaitable<bool> begun();
  bool has_begun();

  /// Writes the objects as they come, until close().
  net::awaitable<base::Result<void>> forward(http::Exchange& exchange);

 private:
  static constexpr std::size_t kMaxWaiting = 64u << 10;

  void append(const nlohmann::json& object, bool may_drop);
  void wake();

  const net::any_io_executor executor_;
  async::Notifier changed_;  // io_context thread only
  std::mutex mutex_;         // guards the rest
  std::string waiting_;
  bool begun_ = false;
  bool closed_ = false;
};

/// "[=====>     ] 1.2MB/3.4MB", as Docker draws it for clients that do not.
std::string progress_bar(std::uint64_t current, std::uint64_t total);

}  // namespace docker
