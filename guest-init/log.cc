#include "guest-init/log.h"

#include <fcntl.h>
#include <unistd.h>

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

}  // namespace guest_init
