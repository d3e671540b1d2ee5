#include "images/store/layers/layer_converter.h"

#include <algorithm>
#include <vector>

#include "images/store/layers/erofs_writer.h"
#include "images/store/layers/layer_tree.h"
#include "images/store/streams/decompress.h"
#include "images/store/streams/digest.h"
#include "images/store/streams/tar_reader.h"
#include "images/store/streams/tar_recipe.h"

namespace images {

namespace {

constexpr std::size_t kCopyBytes = 256u << 10;
constexpr std::size_t kStreamBytes = 64u << 10;  // what the tar reader is fed from
constexpr std::uint64_t kProgressStep = 4u << 20;

/// Reads ahead in larger pieces, refuses streams longer than `limit`.
class BufferedLimit : public ByteSource {
 public:
  BufferedLimit(ByteSource& source, std::uint64_t limit)
      : source_(source), left_(limit), buffer_(kStreamBytes) {}

  base::Result<std::size_t> read(std::span<std::byte> out) override {
    if (ready_.empty() && out.size() >= buffer_.size()) return read_source(out);
    if (ready_.empty()) {
      auto got = read_source(buffer_);
      if (!got) return got;
      ready_ = std::span<const std::byte>(buffer_).first(*got);
    }
    const std::size_t step = std::min(out.size(), ready_.size());
    std::copy_n(ready_.begin(), step, out.begin());
    ready_ = ready_.subspan(step);
    return step;
  }

 private:
  base::Result<std::size_t> read_source(std::span<std::byte> out) {
    auto got = source_.read(out);
    if (!got) return got;
    if (*got > left_)
      return base::Error{base::Code::kResourceExhausted, "the layer is larger than the limit"};
    left_ -= *got;
    return got;
  }

  ByteSource& source_;
  std::uint64_t left_;
  std::vector<std::byte> buffer_;
  std::span<const std::byte> ready_;
};

class ReportingSource : public ByteSource {
 public:
  ReportingSource(ByteSource& source, const ConvertProgress& progress)
      : source_(source), progress_(progress) {}

  base::Result<std::size_t> read(std::span<std::byte> out) override {
    auto got = source_.read(out);
    if (!got) return got;
    total_ += *got;
    if (progress_ && (total_ - reported_ >= kProgressStep || (*got == 0 && total_ > reported_))) {
      reported_ = total_;
      progress_(total_);
    }
    return got;
  }

 private:
  ByteSource& source_;
  const ConvertProgress& progress_;
  std::uint64_t total_ = 0;
  std::uint64_t reported_ = 0;
};

class RecipeObserver : public TarReader::LiteralObserver {
 public:
  explicit RecipeObserver(RecipeWriter& recipe) : recipe_(recipe) {}
  base::Result<void> on_literal(std::span<const std::byte> bytes) override {
    return recipe_.literal(bytes);
  }

 private:
  RecipeWriter& recipe_;
};

/// Moves the stored bytes of entries from the tar stream into the EROFS.
class ContentCopier {
 public:
  ContentCopier(TarReader& reader, ErofsWriter& writer, RecipeWriter& recipe)
      : reader_(reader), writer_(writer), recipe_(recipe), buffer_(kCopyBytes) {}

  base::Result<void> copy(const TarEntry& entry) {
    if (!entry.sparse) {
      RETURN_IF_ERROR(copy_bytes(entry.stored_size));
    } else {
      std::uint64_t position = 0;
      for (const SparseRegion& region : *entry.sparse) {
        RETURN_IF_ERROR(writer_.append_zeros(region.offset - position));
        RETURN_IF_ERROR(copy_bytes(region.length));
        position = region.offset + region.length;
      }
      RETURN_IF_ERROR(writer_.append_zeros(entry.size - position));
    }
    return writer_.end_file();
  }

 private:
  base::Result<void> copy_bytes(std::uint64_t count) {
    while (count > 0) {
      auto got = reader_.read(std::span(buffer_).first(std::min<std::uint64_t>(count, kCopyBytes)));
      if (!got) return std::move(got).error();
      if (*got == 0) return base::Error{base::Code::kDataLoss, "unexpected EOF"};
      RETURN_IF_ERROR(recipe_.range(writer_.position(), *got));
      RETURN_IF_ERROR(writer_.append(std::span(buffer_).first(*got)));
      count -= *got;
    }
    return {};
  }

  TarReader& reader_;
  ErofsWriter& writer_;
  RecipeWriter& recipe_;
  std::vector<std::byte> buffer_;
};

}  // namespace

base::Result<ConvertedLayer> convert_layer(ByteSource& blob, int image, ByteSink& recipe_sink,
                                           const LayerLimits& limits,
                                           const ConvertProgress& progress) {
  ReportingSource reported(blob, progress);
  HashingSource hashed_blob(reported);
  auto tar = open_decompressed(hashed_blob);
  if (!tar) return std::move(tar).error();
  BufferedLimit limited(**tar, limits.tar_bytes);
  HashingSource hashed_tar(limited);

  RecipeWriter recipe(recipe_sink, limits.metadata_bytes * 4);
  RecipeObserver literals(recipe);
  TarReader reader(hashed_tar, &literals);
  ErofsWriter writer(image, limits.image_bytes);
  ContentCopier copier(reader, writer, recipe);
  LayerTree tree(limits);

  RETURN_IF_ERROR(writer.begin());
  while (true) {
    auto entry = reader.next();
    if (!entry) return std::move(entry).error();
    if (!*entry) break;
    const std::uint32_t first_block = writer.next_block();
    RETURN_IF_ERROR(tree.apply(**entry, first_block));
    RETURN_IF_ERROR(copier.copy(**entry));
  }
  RETURN_IF_ERROR(reader.finish());
  RETURN_IF_ERROR(recipe.finish());

  const Sha256::Value diff_id = hashed_tar.finish();
  std::array<std::uint8_t, 16> uuid;
  std::copy_n(diff_id.begin(), uuid.size(), uuid.begin());
  auto summary = writer.finish(tree, uuid);
  if (!summary) return std::move(summary).error();
  return ConvertedLayer{.blob_digest = to_digest_string(hashed_blob.finish()),
                        .diff_id = to_digest_string(diff_id),
                        .tar_bytes = hashed_tar.total(),
                        .image_bytes = summary->bytes,
                        .content_bytes = summary->content_bytes};
}

}  // namespace images
