#include "vmm/emulated/host/processor.h"

#include <sched.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <utility>

namespace emulated {
namespace {

constexpr auto kSample = std::chrono::milliseconds(100);

/// How many claims one processor can have: more machines on one are not worth counting.
constexpr int kMostClaims = 64;

/// As many processors as a kernel for x86-64 can have (CONFIG_NR_CPUS); cpu_set_t has 1024.
using ProcessorSet = std::array<cpu_set_t, 8>;
constexpr int kMaxProcessors = 8 * CPU_SETSIZE;

/// Idle time by processor, in ticks since the boot.
std::map<int, std::uint64_t> idle_times(std::string_view stat) {
  std::map<int, std::uint64_t> times;
  std::istringstream lines{std::string(stat)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    int number = 0;
    std::uint64_t user = 0, nice = 0, system = 0, idle = 0;
    if (!line.starts_with("cpu") || line.starts_with("cpu ")) continue;
    words.ignore(3);
    if (words >> number >> user >> nice >> system >> idle) times[number] = idle;
  }
  return times;
}

std::string read_stat() {
  std::ostringstream text;
  text << std::ifstream("/proc/stat").rdbuf();
  return text.str();
}

/// Makes a socket with that abstract name (unix(7)). One process can have it, and the kernel frees
/// it with the descriptor, so no claim outlives its owner. An invalid descriptor: the name is
/// taken.
base::Result<base::UniqueFd> take_name(const std::string& name) {
  base::UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return base::errno_error("socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t length = std::min(name.size(), sizeof address.sun_path - 1);
  name.copy(address.sun_path + 1, length);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + length);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0) return socket;
  if (errno == EADDRINUSE) return base::UniqueFd();
  return base::errno_error("bind " + name);
}

}  // namespace

base::Result<std::vector<int>> usable_processors() {
  ProcessorSet set{};
  if (::sched_getaffinity(0, sizeof set, set.data()) < 0)
    return base::errno_error("sched_getaffinity");
  std::vector<int> numbers;
  for (int i = 0; i < kMaxProcessors; ++i)
    if (CPU_ISSET_S(static_cast<unsigned>(i), sizeof set, set.data())) numbers.push_back(i);
  return numbers;
}

std::vector<int> idlest_first(std::vector<int> candidates, std::string_view before,
                              std::string_view after) {
  const auto then = idle_times(before), now = idle_times(after);
  const auto idle = [&](int candidate) -> std::uint64_t {
    const auto begin = then.find(candidate), end = now.find(candidate);
    if (begin == then.end() || end == now.end() || end->second < begin->second) return 0;
    return end->second - begin->second;
  };
  std::ranges::stable_sort(candidates, std::greater{}, idle);
  return candidates;
}

base::Result<ProcessorClaim> ProcessorClaim::take(const std::string& family) {
  auto usable = usable_processors();
  if (!usable) return std::move(usable).error();
  const std::string before = read_stat();
  std::this_thread::sleep_for(kSample);
  const auto candidates = idlest_first(std::move(*usable), before, read_stat());
  for (int turn = 0; turn < kMostClaims; ++turn)
    for (const int processor : candidates) {
      auto name = take_name(family + "/processor-" + std::to_string(processor) + "/" +
                            std::to_string(turn));
      if (!name) return std::move(name).error();
      if (*name) return ProcessorClaim(processor, std::move(*name));
    }
  return ProcessorClaim(candidates.front(), base::UniqueFd());
}

base::Result<void> stay_on_processor(int processor) {
  ProcessorSet set{};
  CPU_SET_S(static_cast<unsigned>(processor), sizeof set, set.data());
  if (::sched_setaffinity(0, sizeof set, set.data()) < 0)
    return base::errno_error("sched_setaffinity");
  return {};
}

}  // namespace emulated
