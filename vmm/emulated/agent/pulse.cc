#include "vmm/emulated/agent/pulse.h"

#include <fcntl.h>
#include <linux/hpet.h>
#include <sys/ioctl.h>

namespace emulated {
namespace {

constexpr unsigned long kPulsesPerSecond = 5;

}  // namespace

base::Result<base::UniqueFd> start_pulse() {
  base::UniqueFd hpet(::open("/dev/hpet", O_RDONLY | O_CLOEXEC));
  if (!hpet) return base::errno_error("/dev/hpet");
  if (::ioctl(hpet.get(), HPET_IRQFREQ, kPulsesPerSecond) < 0 ||
      ::ioctl(hpet.get(), HPET_EPI, 0) < 0 || ::ioctl(hpet.get(), HPET_IE_ON, 0) < 0)
    return base::errno_error("/dev/hpet: no periodic interrupt");
  return hpet;
}

}  // namespace emulated
