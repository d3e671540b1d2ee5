#include "vmm/arch/x86_64/host.h"

#include <fstream>

namespace x86_64 {

std::string host_identity() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  std::string line;
  std::string identity;
  while (std::getline(cpuinfo, line) && !line.empty())
    for (const char* key : {"vendor_id", "cpu family", "model", "stepping", "microcode", "flags"})
      if (line.starts_with(key)) identity += line + "\n";
  std::ifstream release("/proc/sys/kernel/osrelease");
  std::getline(release, line);
  return identity + line;
}

}  // namespace x86_64
