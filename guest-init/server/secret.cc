#include "guest-init/server/secret.h"

namespace guest_init {
namespace {

/// Looks at every byte, whatever the others were; the compiler cannot end it early.
bool equal(const protocol::Secret& a, const protocol::Secret& b) {
  volatile std::uint8_t difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    difference = static_cast<std::uint8_t>(difference | (a[i] ^ b[i]));
  return difference == 0;
}

}  // namespace

void MachineSecret::set(const protocol::Secret& secret) {
  secret_ = secret;
  is_set_ = true;
}

bool MachineSecret::matches(const protocol::Secret& said) const {
  return !is_set_ || equal(secret_, said);
}

bool MachineSecret::is_valid(const protocol::Secret& secret) {
  return !equal(secret, protocol::Secret{});
}

}  // namespace guest_init
