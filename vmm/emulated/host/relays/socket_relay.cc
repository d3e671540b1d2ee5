#include "vmm/emulated/host/relays/socket_relay.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace emulated {

base::Result<std::unique_ptr<SocketRelay>> SocketRelay::start(std::filesystem::path path,
                                                              Endpoint endpoint,
                                                              std::string target) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string name = path.string();
  if (name.size() >= sizeof address.sun_path)
    return base::Error{base::Code::kInvalidArgument,
                       name +
                           " is longer than a socket path may be (107 bytes); choose a shorter "
                           "state directory with CONTAINERVM_STATE"};
  name.copy(address.sun_path, name.size());
  base::UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!listener) return base::errno_error("socket");
  ::unlink(name.c_str());
  ::fchmod(listener.get(), 0600);  // bind() gives the socket file these permissions.
  if (::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
    return base::errno_error(name);
  if (::listen(listener.get(), 128) < 0) return base::errno_error("listen");
  return std::unique_ptr<SocketRelay>(
      new SocketRelay(std::move(path), std::move(listener), endpoint, std::move(target)));
}

SocketRelay::SocketRelay(std::filesystem::path path, base::UniqueFd listener, Endpoint endpoint,
                         std::string target)
    : path_(std::move(path)),
      acceptor_(std::move(listener), endpoint, std::make_shared<RelaySlots>(kMaxConnections),
                [target = std::move(target)](std::uint64_t name) {
                  return wire::frame(OpenUnix{.path = target, .name = name});
                }) {}

SocketRelay::~SocketRelay() { ::unlink(path_.c_str()); }

}  // namespace emulated
