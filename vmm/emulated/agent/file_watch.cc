#include "vmm/emulated/agent/file_watch.h"

#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>

#include "vmm/emulated/link/channel.h"

namespace emulated {
namespace {

constexpr auto kSendTimeout = std::chrono::seconds(30);

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::string text(kMaxWatched, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  return text;
}

}  // namespace

base::Result<void> watch_file(base::UniqueFd socket, const std::string& path) {
  const std::filesystem::path directory = std::filesystem::path(path).parent_path();
  std::error_code ignored;
  std::filesystem::create_directories(directory, ignored);
  const base::UniqueFd changes(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!changes) return base::errno_error("inotify_init1");
  // Before the first look, so that no change is missed.
  if (::inotify_add_watch(changes.get(), directory.c_str(), IN_MOVED_TO | IN_DELETE | IN_ONLYDIR) <
      0)
    return base::errno_error("watch " + directory.string());
  std::optional<std::string> last;
  for (;;) {
    std::string text = text_of(path);
    if (text != last)
      RETURN_IF_ERROR(write_all(socket.get(), wire::frame(FileText{.text = text}),
                                std::chrono::steady_clock::now() + kSendTimeout));
    last = std::move(text);
    std::array<pollfd, 2> entries{pollfd{socket.get(), POLLIN, 0},
                                  pollfd{changes.get(), POLLIN, 0}};
    if (::poll(entries.data(), entries.size(), -1) < 0 && errno != EINTR)
      return base::errno_error("poll");
    if (entries[0].revents != 0) return {};  // the host says nothing more: it has closed
    std::array<char, 4096> unread;
    while (::read(changes.get(), unread.data(), unread.size()) > 0) {
    }
  }
}

}  // namespace emulated
