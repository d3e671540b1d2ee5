// What the containervm-layer program writes to its standard output: frames (vmm/base/wire.h).
// Any number of LayerProgress, then exactly one LayerConverted or LayerFailed.
// Trust: the program may have been taken over by the bytes it read; its messages are checked.
#pragma once

#include <cstdint>
#include <string>

#include "vmm/base/result.h"
#include "vmm/base/wire.h"

namespace images {

enum class LayerMessage : std::uint16_t { kProgress = 1, kConverted = 2, kFailed = 3 };

struct LayerProgress {
  static constexpr LayerMessage kType = LayerMessage::kProgress;
  std::uint64_t input_bytes = 0;
  static void fields(auto& self, auto&& visit) { visit(self.input_bytes); }
};

struct LayerConverted {
  static constexpr LayerMessage kType = LayerMessage::kConverted;
  std::string blob_digest;
  std::string diff_id;
  std::uint64_t tar_bytes = 0;
  std::uint64_t image_bytes = 0;
  std::uint64_t content_bytes = 0;
  static void fields(auto& self, auto&& visit) {
    visit(self.blob_digest, self.diff_id, self.tar_bytes, self.image_bytes, self.content_bytes);
  }
};

struct LayerFailed {
  static constexpr LayerMessage kType = LayerMessage::kFailed;
  base::Code code = base::Code::kInternal;
  std::string message;
  static void fields(auto& self, auto&& visit) { visit(self.code, self.message); }
};

/// The descriptors the program is started with, beside standard output.
inline constexpr int kLayerInputFd = 0;   // the blob
inline constexpr int kLayerImageFd = 3;   // new file: the EROFS, or the decompressed bytes
inline constexpr int kLayerRecipeFd = 4;  // new file: the tar recipe

}  // namespace images
