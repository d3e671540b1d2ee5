#include "vmm/fileserver/files/attribute_names.h"

#include "vmm/fileserver/files/limits.h"

namespace fileserver {
namespace {

constexpr std::string_view kTrusted = "trusted.";
constexpr std::string_view kOwn = "user.containervm.";

}  // namespace

Answer<std::string> host_attribute(std::string_view guest_name) {
  if (guest_name.starts_with(kOwn)) return Errno{EPERM};
  std::string name(guest_name);
  if (guest_name.starts_with(kTrusted)) name.insert(0, kOwn);
  if (name.size() > kLongestName) return Errno{ERANGE};
  return name;
}

std::string guest_attributes(std::string_view host_names) {
  std::string names;
  while (!host_names.empty()) {
    const std::size_t end = std::min(host_names.find('\0'), host_names.size());
    std::string_view name = host_names.substr(0, end);
    host_names.remove_prefix(std::min(end + 1, host_names.size()));
    const bool own = name.starts_with(kOwn);
    if (own) name.remove_prefix(kOwn.size());
    // The host's own trusted attributes and what else is below the prefix are not the guest's.
    if (own == name.starts_with(kTrusted)) names.append(name).push_back('\0');
  }
  return names;
}

}  // namespace fileserver
