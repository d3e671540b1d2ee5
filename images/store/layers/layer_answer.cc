#include "images/store/layers/layer_answer.h"

#include <algorithm>
#include <utility>

#include "images/store/layers/erofs_format.h"
#include "images/store/values/reference.h"

namespace images {
namespace {

std::string printable(std::string text) {
  text.resize(std::min(text.size(), kMaxLayerMessage));
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = ' ';
  return text;
}

}  // namespace

base::Result<bool> LayerAnswer::feed(std::span<const std::byte> bytes) {
  reader_.feed(bytes);
  while (true) {
    auto frame = reader_.next();
    if (!frame) return std::move(frame).error();
    if (!*frame) return false;
    RETURN_IF_ERROR(take(**frame));
    if (answer_) return true;
  }
}

base::Result<void> LayerAnswer::take(const wire::RawFrame& frame) {
  switch (static_cast<LayerMessage>(frame.type)) {
    case LayerMessage::kProgress: {
      auto message = wire::decode<LayerProgress>(frame.payload);
      if (!message) return std::move(message).error();
      if (progress_) progress_(message->input_bytes);
      return {};
    }
    case LayerMessage::kConverted: {
      auto message = wire::decode<LayerConverted>(frame.payload);
      if (!message) return std::move(message).error();
      answer_ = *std::move(message);
      return {};
    }
    case LayerMessage::kFailed: {
      auto message = wire::decode<LayerFailed>(frame.payload);
      if (!message) return std::move(message).error();
      const bool known =
          message->code >= base::Code::kInvalidArgument && message->code <= base::Code::kInternal;
      answer_ = base::Error{known ? message->code : base::Code::kInternal,
                            printable(std::move(message->message))};
      return {};
    }
  }
  return base::Error{base::Code::kDataLoss, "the layer converter sent an unknown message"};
}

base::Result<ConvertedLayer> check_converted(LayerConverted layer, std::uint64_t image_size) {
  const bool plausible = is_sha256_digest(layer.blob_digest) && is_sha256_digest(layer.diff_id) &&
                         layer.image_bytes == image_size && image_size % erofs::kBlockSize == 0 &&
                         image_size > 0;
  if (!plausible)
    return base::Error{base::Code::kInternal, "the layer converter's answer is wrong"};
  return ConvertedLayer{.blob_digest = std::move(layer.blob_digest),
                        .diff_id = std::move(layer.diff_id),
                        .tar_bytes = layer.tar_bytes,
                        .image_bytes = layer.image_bytes,
                        .content_bytes = layer.content_bytes};
}

}  // namespace images
