#include "api/machines/monitor/control_socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace engine {

namespace {

constexpr int kListenBacklog = 8;

/// `hold` keeps the address valid.
base::Result<sockaddr_un> address_in(const std::filesystem::path& directory,
                                     const std::string& name, base::UniqueFd& hold) {
  hold.reset(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!hold) return base::errno_error("open " + directory.string());
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = "/proc/self/fd/" + std::to_string(hold.get()) + "/" + name;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

}  // namespace

base::Result<base::UniqueFd> listen_in(const std::filesystem::path& directory,
                                       const std::string& name) {
  base::UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket) return base::errno_error("socket");
  base::UniqueFd hold;
  const auto address = address_in(directory, name, hold);
  if (!address) return address.error();
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0 ||
      ::listen(socket.get(), kListenBacklog) != 0)
    return base::errno_error("listen as " + name + " in " + directory.string());
  return socket;
}

base::Result<base::UniqueFd> connect_in(const std::filesystem::path& directory,
                                        const std::string& name) {
  base::UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return base::errno_error("socket");
  base::UniqueFd hold;
  const auto address = address_in(directory, name, hold);
  if (!address) return address.error();
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0)
    return base::errno_error("connect to " + name + " in " + directory.string());
  return socket;
}

}  // namespace engine
