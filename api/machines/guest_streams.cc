#include "api/machines/guest_streams.h"

#include <sys/random.h>
#include <sys/socket.h>

#include <utility>

#include "vmm/base/seqpacket.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

/// Tags must differ from those of connections that an earlier daemon opened and that may not be
/// closed yet, and from a template's.
std::uint32_t first_own_tag() {
  std::uint32_t random = 0;
  [[maybe_unused]] const auto filled = ::getrandom(&random, sizeof random, 0);
  return 0x10000u + (random & 0x7fffu) * 0x10000u;
}

std::vector<base::UniqueFd> one(base::UniqueFd fd) {
  std::vector<base::UniqueFd> fds;
  fds.push_back(std::move(fd));
  return fds;
}

}  // namespace

GuestStreams::GuestStreams(net::any_io_executor executor, std::shared_ptr<MonitorClient> monitor)
    : executor_(std::move(executor)), monitor_(std::move(monitor)), next_tag_(first_own_tag()) {}

StreamSocket GuestStreams::socket(base::UniqueFd fd) const {
  return {executor_, net::local::stream_protocol(), fd.release()};
}

Result<void> GuestStreams::adopt(const Template& from,
                                 std::vector<async::Reply<MonitorClient::Answer>>& replies) {
  for (const std::uint32_t tag : from.streams) {
    auto pair = base::make_socket_pair(SOCK_STREAM);
    if (!pair) return std::move(pair).error();
    launch::AdoptStream adopt;
    adopt.tag = tag;
    replies.push_back(monitor_->send(adopt, one(std::move(pair->second))));
    if (tag == kControlTag) {
      control_ = socket(std::move(pair->first));
    } else {
      spare_.push_back(socket(std::move(pair->first)));
    }
  }
  if (!control_) return Error{Code::kDataLoss, "the template has no control stream"};
  return {};
}

Result<StreamSocket> GuestStreams::open(std::uint32_t port) {
  auto pair = base::make_socket_pair(SOCK_STREAM);
  if (!pair) return std::move(pair).error();
  launch::OpenStream open;
  open.guest_port = port;
  open.tag = next_tag_++;
  monitor_->send(open, one(std::move(pair->second)));
  return socket(std::move(pair->first));
}

Result<StreamSocket> GuestStreams::next() {
  if (spare_.empty()) return open(protocol::kStreamPort);
  StreamSocket taken = std::move(spare_.back());
  spare_.pop_back();
  return taken;
}

void GuestStreams::close() {
  control_.reset();
  spare_.clear();
}

}  // namespace engine
