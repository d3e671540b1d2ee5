// guest-init: PID 1 of a containerVM machine. Also, under other names, the --init process of a
// container (container_init.h) and the tool that copies files (files_tool.h).
#include <cstring>

#include "guest-init/boot.h"
#include "guest-init/container_init.h"
#include "guest-init/files_tool.h"
#include "guest-init/log.h"
#include "guest-init/server.h"

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
