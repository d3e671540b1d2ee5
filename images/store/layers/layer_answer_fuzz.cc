// What a layer tool that was taken over may say: gibberish is an error, an answer is checked.
#include <algorithm>
#include <cstdlib>

#include "images/store/layers/layer_answer.h"
#include "images/store/testing/fuzz_bytes.h"
#include "images/store/values/reference.h"

namespace images {
namespace {

void check(base::Result<LayerConverted> answer) {
  if (!answer) {
    const base::Error& error = answer.error();
    if (error.code < base::Code::kInvalidArgument || error.code > base::Code::kInternal)
      std::abort();
    if (error.message.size() > kMaxLayerMessage) std::abort();
    if (std::any_of(error.message.begin(), error.message.end(),
                    [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; }))
      std::abort();
    return;
  }
  const std::uint64_t said = answer->image_bytes;
  for (const std::uint64_t size : {said, std::uint64_t{0}, std::uint64_t{4096}}) {
    const auto layer = check_converted(*answer, size);
    if (layer && (!is_sha256_digest(layer->diff_id) || layer->image_bytes != size || size == 0))
      std::abort();
  }
}

}  // namespace
}  // namespace images

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const images::ConvertProgress progress = [](std::uint64_t) {};
  images::LayerAnswer answer(progress);
  images::testing::FuzzBytes input(data, size);
  const std::size_t step = 1 + input.byte();
  bool over = false;
  while (!input.empty() && !over) {
    const std::string piece = input.text(step);
    const auto fed = answer.feed(std::as_bytes(std::span(piece)));
    if (!fed) return 0;
    over = *fed;
  }
  auto said = answer.take();
  if (over != said.has_value()) std::abort();
  if (said) images::check(*std::move(said));
  return 0;
}
