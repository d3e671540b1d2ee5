#include "guest-init/system/identity.h"

#include <linux/random.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cstring>
#include <ctime>

namespace guest_init {
namespace {

bool is_machine_id(const std::string& id) {
  return id.size() == 32 && std::all_of(id.begin(), id.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace

base::Result<void> take_identity(const protocol::SetIdentity& identity, int random_device) {
  if (!is_machine_id(identity.machine_id))
    return base::Error{base::Code::kInvalidArgument, "a machine-id has 32 lower-case hex digits"};
  if (identity.realtime_ns < 0)
    return base::Error{base::Code::kInvalidArgument, "the time is before 1970"};

  // struct rand_pool_info: two ints, then the bytes.
  struct {
    int entropy_bits;
    int size;
    std::array<std::uint8_t, 64> bytes;
  } pool{static_cast<int>(8 * identity.entropy.size()), static_cast<int>(identity.entropy.size()),
         identity.entropy};
  if (ioctl(random_device, RNDADDENTROPY, &pool) != 0) return base::errno_error("RNDADDENTROPY");
  if (ioctl(random_device, RNDRESEEDCRNG, nullptr) != 0) return base::errno_error("RNDRESEEDCRNG");

  constexpr std::int64_t kSecond = 1'000'000'000;
  const timespec now{identity.realtime_ns / kSecond, identity.realtime_ns % kSecond};
  if (clock_settime(CLOCK_REALTIME, &now) != 0) return base::errno_error("clock_settime");
  return {};
}

}  // namespace guest_init
