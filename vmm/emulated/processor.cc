#include "vmm/emulated/processor.h"

#include <sched.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <thread>

namespace emulated {
namespace {

constexpr auto kSample = std::chrono::milliseconds(100);

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

int idlest_processor(const std::vector<int>& candidates, std::string_view before,
                     std::string_view after) {
  const auto then = idle_times(before), now = idle_times(after);
  int best = candidates.front();
  std::uint64_t longest = 0;
  for (const int candidate : candidates) {
    const auto begin = then.find(candidate), end = now.find(candidate);
    if (begin == then.end() || end == now.end() || end->second < begin->second) continue;
    const std::uint64_t idle = end->second - begin->second;
    if (idle <= longest) continue;
    longest = idle;
    best = candidate;
  }
  return best;
}

base::Result<int> find_idlest_processor() {
  const auto candidates = usable_processors();
  if (!candidates) return candidates.error();
  const std::string before = read_stat();
  std::this_thread::sleep_for(kSample);
  return idlest_processor(*candidates, before, read_stat());
}

base::Result<void> stay_on_processor(int processor) {
  ProcessorSet set{};
  CPU_SET_S(static_cast<unsigned>(processor), sizeof set, set.data());
  if (::sched_setaffinity(0, sizeof set, set.data()) < 0)
    return base::errno_error("sched_setaffinity");
  return {};
}

}  // namespace emulated
