// Container-controlled text: /etc/passwd, /etc/group, and the names looked up in them.
#include <cstdint>
#include <string_view>

#include "guest-init/system/user.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  // Three parts, separated by zero bytes: the name, passwd, group.
  const std::size_t first = all.find('\0');
  if (first == std::string_view::npos) return 0;
  const std::string_view rest = all.substr(first + 1);
  const std::string_view passwd = rest.substr(0, rest.find('\0'));
  const std::string_view group = rest.substr(passwd.size());
  const auto user = guest_init::resolve_user(all.substr(0, first), {"extra"}, passwd, group);
  if (user && (user->uid > 0x7fffffff || user->groups.empty())) __builtin_trap();
  return 0;
}
