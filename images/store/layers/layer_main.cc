// containervm-layer: reads one hostile blob in a sandbox. Started by the store (layer_process.h).
//
//   containervm-layer convert    OFFSET LENGTH TAR_BYTES IMAGE_BYTES ENTRIES METADATA_BYTES
//   containervm-layer convert-stream 0 LENGTH TAR_BYTES IMAGE_BYTES ENTRIES METADATA_BYTES
//   containervm-layer decompress OFFSET LENGTH MAX_BYTES
//
// The input is LENGTH bytes at OFFSET of descriptor 0, or (convert-stream) what is read from it,
// which whoever feeds it keeps below LENGTH; the outputs are files on descriptors 3 and
// 4; what happened is told on descriptor 1 (layer_messages.h). Nothing else is opened.

#include <unistd.h>

#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "images/store/layers/block_writer.h"
#include "images/store/layers/layer_converter.h"
#include "images/store/layers/layer_messages.h"
#include "images/store/layers/sandbox.h"
#include "images/store/streams/decompress.h"
#include "images/store/streams/digest.h"
#include "images/store/streams/tar_fields.h"

namespace images {
namespace {

template <typename M>
void tell(const M& message) {
  const wire::Bytes frame = wire::frame(message);
  // Nobody is left to be told when this fails.
  (void)FdSink(STDOUT_FILENO).write(frame);
}

void tell_failure(const base::Error& error) {
  tell(LayerFailed{.code = error.code, .message = error.message.substr(0, 4096)});
}

void tell_progress(std::uint64_t input_bytes) { tell(LayerProgress{.input_bytes = input_bytes}); }

base::Result<LayerConverted> convert(ByteSource& blob, const LayerLimits& limits) {
  FdSink recipe(kLayerRecipeFd);
  auto layer = convert_layer(blob, kLayerImageFd, recipe, limits, tell_progress);
  if (!layer) return std::move(layer).error();
  return LayerConverted{.blob_digest = layer->blob_digest,
                        .diff_id = layer->diff_id,
                        .tar_bytes = layer->tar_bytes,
                        .image_bytes = layer->image_bytes,
                        .content_bytes = layer->content_bytes};
}

base::Result<LayerConverted> decompress(ByteSource& blob, std::uint64_t max_bytes) {
  auto content = open_decompressed(blob);
  if (!content) return std::move(content).error();
  BlockWriter out(kLayerImageFd, max_bytes);
  std::vector<std::byte> buffer(256u << 10);
  while (true) {
    auto got = (*content)->read(buffer);
    if (!got) return std::move(got).error();
    if (*got == 0) break;
    RETURN_IF_ERROR(out.append(std::span(buffer).first(*got)));
  }
  RETURN_IF_ERROR(out.finish());
  LayerConverted done;
  done.image_bytes = out.position();
  return done;
}

base::Result<LayerConverted> run(std::string_view verb, const std::vector<std::uint64_t>& numbers) {
  (void)Sha256().finish();  // loads what OpenSSL loads on first use
  const bool streams = verb == "convert-stream";
  const bool converts = (verb == "convert" || streams) && numbers.size() == 6;
  const bool decompresses = verb == "decompress" && numbers.size() == 3;
  if (!converts && !decompresses)
    return base::Error{base::Code::kInvalidArgument,
                       "usage: see images/store/layers/layer_main.cc"};
  RangeSource range(kLayerInputFd, numbers[0], numbers[1]);
  FdSource stream(kLayerInputFd);
  ByteSource& blob = streams ? static_cast<ByteSource&>(stream) : range;
  RETURN_IF_ERROR(enter_sandbox(converts ? numbers[3] : numbers[2]));
  if (decompresses) return decompress(blob, numbers[2]);
  return convert(blob, {.tar_bytes = numbers[2],
                        .image_bytes = numbers[3],
                        .entries = numbers[4],
                        .metadata_bytes = numbers[5]});
}

int main_program(const std::vector<std::string_view>& arguments) {
  std::vector<std::uint64_t> numbers;
  for (std::size_t i = 2; i < arguments.size(); ++i)
    numbers.push_back(tar::decimal(arguments[i]).value_or(0));
  try {
    auto done = run(arguments.size() > 1 ? arguments[1] : "", numbers);
    if (done) {
      tell(*done);
      return 0;
    }
    tell_failure(done.error());
  } catch (const std::bad_alloc&) {
    tell_failure({base::Code::kResourceExhausted, "the layer needs too much memory"});
  }
  return 1;
}

}  // namespace
}  // namespace images

int main(int argc, char** argv) {
  // Without atexit handlers: they belong to what the sandbox no longer allows.
  ::_exit(images::main_program({argv, argv + argc}));
}
