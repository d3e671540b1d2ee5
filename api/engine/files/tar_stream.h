// A client's tar archive -> the frames of a guest's files tool (guest-init/protocol/files.h). The
// other way: tar_writer.h. libarchive speaks tar.
//
// Trust: the input is the client's and may be anything. An error ends the archive. Memory: one
// piece, not one file.
#pragma once

#include "images/store/streams/byte_source.h"
#include "vmm/base/result.h"

namespace engine {

/// Reads a tar archive, compressed (gzip, bzip2, xz, zstd) or not, from `in` and writes its frames
/// to `out`. Blocks. kInvalidArgument: it is no such archive. Errors of `in` and `out` as they are.
base::Result<void> tar_to_frames(images::ByteSource& in, images::ByteSink& out);

}  // namespace engine
