// RemoteBlob: a layer as a repository has it.
#pragma once

#include <cstdint>
#include <string>

namespace images {

/// The form in which a repository has a layer (OCI image spec, descriptor.md).
struct RemoteBlob {
  std::string digest;
  std::uint64_t bytes = 0;
  std::string media_type;
};

}  // namespace images
