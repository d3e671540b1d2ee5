// LayerProcess: runs the containervm-layer program; it is the daemon's side of the sandbox.
//
// Threads: any number at once; calls block. The child has ended when a call returns. A call that is
// told to stop kills the child and returns kUnavailable at once.
// Trust: what the child says is checked for form; the caller compares digests with what it expects.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>

#include "images/store/layers/layer_converter.h"
#include "images/store/layers/layer_limits.h"
#include "images/store/streams/byte_source.h"
#include "vmm/base/result.h"

namespace images {

/// Bytes [offset, offset + length) of an open file.
struct FileRange {
  int fd = -1;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

class LayerProcess {
 public:
  /// `program` is the path of containervm-layer; `groups` a cgroup v2 directory in which each that
  /// runs gets one of its own (layer_group.h), or empty.
  explicit LayerProcess(std::string program, std::string groups = {})
      : program_(std::move(program)), groups_(std::move(groups)) {}

  /// convert_layer() on `blob`; `image` and `recipe` are new empty files.
  base::Result<ConvertedLayer> convert(FileRange blob, int image, int recipe,
                                       const LayerLimits& limits, const ConvertProgress& progress,
                                       std::stop_token stop = {}) const;
  /// The same for a blob that comes as a stream of at most `max_bytes`: it is read on the calling
  /// thread and given on as it comes. An Error of `blob` is returned as it is; it also says when to
  /// stop.
  base::Result<ConvertedLayer> convert_stream(ByteSource& blob, std::uint64_t max_bytes, int image,
                                              int recipe, const LayerLimits& limits) const;
  /// Writes the content of the compressed `blob` to the new empty file `out`; returns its length.
  base::Result<std::uint64_t> decompress(FileRange blob, int out, std::uint64_t max_bytes,
                                         std::stop_token stop = {}) const;

 private:
  std::string program_;
  std::string groups_;
};

}  // namespace images
