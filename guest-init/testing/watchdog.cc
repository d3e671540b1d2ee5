#include "guest-init/testing/watchdog.h"

#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <mutex>
#include <sstream>
#include <string>

namespace guest_init::testing {
namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

/// Field 4 of /proc/PID/stat; -1 for a process that is gone.
int parent_of(const fs::path& process) {
  const std::string stat = text_of(process / "stat");
  const auto name_end = stat.rfind(") ");
  if (name_end == std::string::npos) return -1;
  std::istringstream rest(stat.substr(name_end + 2));
  std::string state;
  int parent = -1;
  rest >> state >> parent;
  return parent;
}

void describe(const fs::path& process) {
  std::error_code error;
  for (const auto& task : fs::directory_iterator(process / "task", error)) {
    std::cerr << task.path().string() << " " << text_of(task.path() / "stat").substr(0, 60)
              << "\n  syscall " << text_of(task.path() / "syscall")
              << text_of(task.path() / "stack");
  }
}

void describe_everything() {
  describe("/proc/self");
  std::error_code error;
  for (const auto& process : fs::directory_iterator("/proc", error))
    if (parent_of(process.path()) == getpid()) describe(process.path());
}

}  // namespace

Watchdog::Watchdog(std::chrono::seconds limit)
    : thread_([limit](std::stop_token stop) {
        std::mutex mutex;
        std::condition_variable_any ended;
        std::unique_lock lock(mutex);
        if (ended.wait_for(lock, stop, limit, [&] { return stop.stop_requested(); })) return;
        std::cerr << "hangs for " << limit.count() << " s:\n";
        describe_everything();
        std::abort();
      }) {}

}  // namespace guest_init::testing
