#include "vmm/fileserver/session/channel.h"

#include <linux/fuse.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "vmm/launch/file_server.h"

namespace fileserver {
namespace {

namespace protocol = launch::file_server;

static_assert(protocol::kLeastRequest == sizeof(fuse_in_header));

/// Receives at least `least` bytes into `out`, which has room for more; returns how many. Fewer:
/// the stream has ended.
base::Result<std::size_t> receive_into(int socket, std::span<std::byte> out, std::size_t least) {
  std::size_t done = 0;
  while (done < least) {
    const ssize_t got = ::recv(socket, out.data() + done, out.size() - done, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno != ECONNRESET) return base::errno_error("receiving a request");
    if (got <= 0) break;
    done += static_cast<std::size_t>(got);
  }
  return done;
}

base::Error cut_short() {
  return {base::Code::kDataLoss, "the monitor's stream ends within a request"};
}

/// Takes `written` bytes off the front of the parts.
std::span<iovec> advance(std::span<iovec> parts, std::size_t written) {
  while (!parts.empty() && written >= parts.front().iov_len) {
    written -= parts.front().iov_len;
    parts = parts.subspan(1);
  }
  if (!parts.empty()) {
    parts.front().iov_base = static_cast<char*>(parts.front().iov_base) + written;
    parts.front().iov_len -= written;
  }
  return parts;
}

}  // namespace

base::Result<std::optional<Request>> Channel::receive() {
  if (!broken_) return base::Error(broken_.error());
  auto request = receive_next();
  if (!request) broken_ = base::Error(request.error());
  return request;
}

/// Makes the inbox hold `wanted` bytes at least. False: the stream has ended before the first one.
base::Result<bool> Channel::fill_inbox(std::size_t wanted) {
  if (inbox_.size() >= wanted) return true;
  std::memmove(inbox_.bytes.data(), inbox_.bytes.data() + inbox_.begin, inbox_.size());
  inbox_.end -= std::exchange(inbox_.begin, 0);
  const auto got =
      receive_into(socket_.get(), std::span(inbox_.bytes).subspan(inbox_.end), wanted - inbox_.end);
  if (!got) return got.error();
  inbox_.end += *got;
  if (inbox_.end == 0) return false;
  return inbox_.end >= wanted ? base::Result<bool>(true) : cut_short();
}

base::Result<std::optional<Request>> Channel::receive_next() {
  fuse_in_header header{};
  const auto more = fill_inbox(sizeof header);
  if (!more) return more.error();
  if (!*more) return std::optional<Request>();
  std::memcpy(&header, inbox_.bytes.data() + inbox_.begin, sizeof header);
  if (header.len < protocol::kLeastRequest || header.len > protocol::kMostRequest)
    return base::Error{base::Code::kDataLoss,
                       "a request says that it has " + std::to_string(header.len) + " bytes"};
  Request request{std::make_unique_for_overwrite<std::byte[]>(header.len), header.len};
  const std::size_t here = std::min(inbox_.size(), request.size);
  std::memcpy(request.bytes.get(), inbox_.bytes.data() + inbox_.begin, here);
  inbox_.begin += here;
  const auto rest = request.span().subspan(here);
  const auto got = receive_into(socket_.get(), rest, rest.size());
  if (!got) return got.error();
  if (*got < rest.size()) return cut_short();
  return std::optional<Request>(std::move(request));
}

bool Channel::send(std::span<iovec> parts) {
  const std::lock_guard lock(sending_);
  while (!parts.empty()) {
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    const ssize_t written = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    parts = advance(parts, static_cast<std::size_t>(written));
  }
  return true;
}

void Channel::shut_down() { ::shutdown(socket_.get(), SHUT_RDWR); }

}  // namespace fileserver
