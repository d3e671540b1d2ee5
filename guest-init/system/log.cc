#include "guest-init/system/log.h"

#include <fcntl.h>
#include <unistd.h>

#include <ctime>
#include <string>

#include "vmm/base/unique_fd.h"

namespace guest_init {

void log_error(std::string_view sentence) {
  const std::string line = "<3>guest-init: " + std::string(sentence) + "\n";
  const base::UniqueFd kernel_log(open("/dev/kmsg", O_WRONLY | O_CLOEXEC));
  const std::string_view text =
      kernel_log ? std::string_view(line) : std::string_view(line).substr(3);
  (void)!write(kernel_log ? kernel_log.get() : 2, text.data(), text.size());
}

void SeldomLog::tell(std::string_view sentence) {
  ++untold_;
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  if (now.tv_sec < silent_until_) return;
  log_error(std::string(sentence) + " (" + std::to_string(untold_) + " times)");
  untold_ = 0;
  silent_until_ = now.tv_sec + kPauseSeconds;
}

}  // namespace guest_init
