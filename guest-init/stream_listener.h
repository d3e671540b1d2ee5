// StreamListener: accepts the host's stream connections and reads the frame each begins with, which
// says whose stream it carries. Runs on the loop's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "guest-init/poll_loop.h"
#include "guest-init/protocol/messages.h"
#include "vmm/base/unique_fd.h"

namespace guest_init {

class StreamListener {
 public:
  /// Gets each connection, non-blocking, with nothing of the stream itself read from it.
  using Handler = std::function<void(const protocol::StreamOpen& open, base::UniqueFd connection)>;

  /// `socket`: listens, non-blocking.
  StreamListener(PollLoop& loop, base::UniqueFd socket, Handler handler)
      : loop_(loop), socket_(std::move(socket)), handler_(std::move(handler)) {}

  base::Result<void> start();

 private:
  struct Incoming {
    base::UniqueFd connection;
    std::vector<std::byte> received;
    PollLoop::Watch watch;
  };

  void accept_one();
  void on_header(std::uint64_t key);

  PollLoop& loop_;
  base::UniqueFd socket_;
  Handler handler_;
  std::map<std::uint64_t, Incoming> incoming_;  // that have not said whose they are
  std::uint64_t next_key_ = 0;
  PollLoop::Watch watch_;
};

}  // namespace guest_init
