// guest-init: PID 1 of a containerVM machine. Also, under other names, the --init process of a
// container (process/container_init.h) and the tool that copies files (files/files_tool.h).
#include <cstring>

#include "guest-init/files/files_tool.h"
#include "guest-init/process/container_init.h"
#include "guest-init/server/boot.h"
#include "guest-init/server/server.h"
#include "guest-init/system/log.h"

int main(int argc, char** argv) {
  using namespace guest_init;
  if (argc > 0 && std::strcmp(argv[0], kContainerInitName) == 0)
    return run_container_init(argc, argv);
  if (argc > 0 && std::strcmp(argv[0], kFilesToolName) == 0) return run_files_tool(argc, argv);

  auto machine = boot();
  if (!machine) {
    log_error("boot: " + machine.error().message);
    return 1;  // the kernel panics; the monitor reports its last lines
  }
  auto server = Server::create(*std::move(machine));
  if (!server) {
    log_error("start: " + server.error().message);
    return 1;
  }
  (*server)->run();
  return 0;
}
