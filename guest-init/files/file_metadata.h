// What of a file's metadata belongs to the file wherever it goes: read for archives, images and
// volumes.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "guest-init/protocol/files.h"

namespace guest_init {

inline constexpr const char* kCapabilityAttribute = "security.capability";

/// Empty: none, or gone in this moment.
std::vector<std::byte> extended_attribute(int fd, const char* name);

/// The extended attributes that do not belong to this file system or kernel: a container's own,
/// capabilities and access lists.
std::vector<protocol::files::ExtendedAttribute> kept_attributes(int fd);

/// Empty: gone in this moment.
std::string link_target(int directory, const std::string& name);

}  // namespace guest_init
