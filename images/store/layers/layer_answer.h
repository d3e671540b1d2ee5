// LayerAnswer: what the containervm-layer program says (layer_messages.h), read and checked for
// form.
//
// Trust: the program may have been taken over by the bytes it read. Memory: one frame.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "images/store/layers/layer_converter.h"
#include "images/store/layers/layer_messages.h"
#include "vmm/base/result.h"
#include "vmm/base/wire.h"

namespace images {

/// The most bytes of a message that are shown.
inline constexpr std::size_t kMaxLayerMessage = 2048;

class LayerAnswer {
 public:
  /// `progress` may be empty; it outlives this object.
  explicit LayerAnswer(const ConvertProgress& progress) : progress_(progress) {}

  /// Takes bytes of the answer; true once it is complete. kDataLoss: the bytes are no answer.
  base::Result<bool> feed(std::span<const std::byte> bytes);

  /// The answer; nullopt if it was not complete. An Error has a known code and a short, printable
  /// message.
  std::optional<base::Result<LayerConverted>> take() { return std::move(answer_); }

 private:
  base::Result<void> take(const wire::RawFrame& frame);

  const ConvertProgress& progress_;
  wire::FrameReader reader_;
  std::optional<base::Result<LayerConverted>> answer_;
};

/// The checked answer. `image_size`: the length of the EROFS that the program wrote. kInternal if
/// the answer does not fit it.
base::Result<ConvertedLayer> check_converted(LayerConverted layer, std::uint64_t image_size);

}  // namespace images
