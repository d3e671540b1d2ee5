// What the extended attributes of a guest are called on the host.
//
// A process may set `trusted.*` only with privileges on the whole host, so a guest's are the host's
// `user.containervm.trusted.*`; the prefix `user.containervm.` is hidden from guests. All others
// are called the same, and are what the host lets this process read and write.
//
// Threads: any. Trust: names are the guest's; there is no NUL in them. Spec: xattr(7).
#pragma once

#include <string>
#include <string_view>

#include "vmm/fileserver/files/answer.h"

namespace fileserver {

/// EPERM: a name that a guest may not use; ERANGE: it is too long for the host.
Answer<std::string> host_attribute(std::string_view guest_name);

/// The guest's view of a list of names as listxattr(2) gives it, each with its NUL.
std::string guest_attributes(std::string_view host_names);

}  // namespace fileserver
