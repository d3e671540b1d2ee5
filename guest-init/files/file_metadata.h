// Reads the metadata that belongs to a file wherever it goes: into an archive, an image, a volume.
// Threads: any.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "guest-init/protocol/files.h"

namespace guest_init {

inline constexpr const char* kCapabilityAttribute = "security.capability";

/// The value of one attribute; empty if there is none, or the file has just gone.
std::vector<std::byte> extended_attribute(int fd, const char* name);

/// The extended attributes that do not belong to this file system or kernel: a container's own,
/// capabilities and access lists.
std::vector<protocol::files::ExtendedAttribute> kept_attributes(int fd);

/// Where the symbolic link `name` points; empty if it has just gone.
std::string link_target(int directory, const std::string& name);

}  // namespace guest_init
