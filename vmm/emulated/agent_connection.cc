#include "vmm/emulated/agent_connection.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>

#include "vmm/emulated/agent_exec.h"
#include "vmm/emulated/byte_relay.h"
#include "vmm/emulated/channel.h"

namespace emulated {
namespace {

using std::chrono::steady_clock;

constexpr auto kHandshakeTimeout = std::chrono::seconds(10);
constexpr std::size_t kLongestRequest = 4u << 20;

/// Takes the same time wherever the two differ.
bool same(const Token& a, const Token& b) {
  std::byte difference{0};
  for (std::size_t i = 0; i < a.size(); ++i) difference |= a[i] ^ b[i];
  return difference == std::byte{0};
}

base::Result<base::UniqueFd> connect_unix(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return base::Error{base::Code::kInvalidArgument, path + ": not a usable socket path"};
  path.copy(address.sun_path, path.size());
  base::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return base::errno_error("socket");
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
    return base::errno_error(path);
  return socket;
}

template <typename M>
base::Result<void> answer(int socket, const M& message) {
  return write_all(socket, wire::frame(message), steady_clock::now() + kHandshakeTimeout);
}

base::Result<void> serve_unix(base::UniqueFd socket, const OpenUnix& request) {
  auto target = connect_unix(request.path);
  if (!target) {
    const base::Error& error = target.error();
    return answer(socket.get(), Refused{.code = error.code, .reason = error.message});
  }
  RETURN_IF_ERROR(answer(socket.get(), Ready{}));
  relay_bytes(std::move(socket), std::move(*target));
  return {};
}

base::Result<void> serve_request(base::UniqueFd socket, const wire::RawFrame& frame,
                                 const std::function<void()>& power_off) {
  switch (static_cast<MessageType>(frame.type)) {
    case MessageType::kPing:
      return answer(socket.get(), Ready{});
    case MessageType::kPowerOff:
      RETURN_IF_ERROR(answer(socket.get(), Ready{}));
      power_off();
      return {};
    case MessageType::kOpenUnix: {
      const auto request = expect<OpenUnix>(frame);
      if (!request) return request.error();
      return serve_unix(std::move(socket), *request);
    }
    case MessageType::kStartExec: {
      const auto request = expect<StartExec>(frame);
      if (!request) return request.error();
      serve_exec(std::move(socket), *request);
      return {};
    }
    default:
      return base::Error{base::Code::kDataLoss, "an unexpected request"};
  }
}

}  // namespace

base::Result<void> serve_connection(base::UniqueFd socket, const Token& token,
                                    const std::function<void()>& power_off) {
  const auto deadline = steady_clock::now() + kHandshakeTimeout;
  Token presented;
  RETURN_IF_ERROR(read_exactly(socket.get(), presented, deadline));
  if (!same(presented, token))
    return base::Error{base::Code::kPermissionDenied, "a connection with a wrong token"};
  const auto frame = read_frame(socket.get(), kLongestRequest, deadline);
  if (!frame) return frame.error();
  return serve_request(std::move(socket), *frame, power_off);
}

}  // namespace emulated
