#include "images/store/streams/tar_recipe.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <vector>

#include "images/store/streams/decompress.h"

namespace images {

namespace {

constexpr std::string_view kMagic = "CVMTARR1";
constexpr std::uint8_t kRecordLiteral = 1;
constexpr std::uint8_t kRecordRange = 2;
constexpr std::size_t kMaxLiteral = 64u << 10;
constexpr std::size_t kCopyChunk = 256u << 10;

base::Error damaged() { return {base::Code::kDataLoss, "the layer's tar recipe is damaged"}; }

template <typename T>
std::array<std::byte, sizeof(T)> bytes_of(T value) {
  std::array<std::byte, sizeof(T)> bytes;
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

template <typename T>
base::Result<T> read_number(ByteSource& source) {
  std::array<std::byte, sizeof(T)> bytes;
  auto got = read_fully(source, bytes);
  if (!got) return std::move(got).error();
  if (*got != bytes.size()) return damaged();
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

}  // namespace

struct RecipeWriter::Compressor {
  explicit Compressor(ByteSink& out) : sink(out), buffer(ZSTD_CStreamOutSize()) {}
  ~Compressor() { ZSTD_freeCCtx(context); }

  base::Result<void> write(std::span<const std::byte> bytes, ZSTD_EndDirective directive) {
    ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
    while (true) {
      ZSTD_outBuffer out{buffer.data(), buffer.size(), 0};
      const std::size_t left = ZSTD_compressStream2(context, &out, &in, directive);
      if (ZSTD_isError(left))
        return base::Error{base::Code::kInternal, std::string("zstd: ") + ZSTD_getErrorName(left)};
      RETURN_IF_ERROR(sink.write(std::span(buffer).first(out.pos)));
      const bool done = directive == ZSTD_e_end ? left == 0 : in.pos == in.size;
      if (done) return {};
    }
  }

  ByteSink& sink;
  ZSTD_CCtx* context = ZSTD_createCCtx();
  std::vector<std::byte> buffer;
  bool begun = false;
};

RecipeWriter::RecipeWriter(ByteSink& sink, std::uint64_t literal_limit)
    : compressor_(std::make_unique<Compressor>(sink)), literal_left_(literal_limit) {}

RecipeWriter::~RecipeWriter() = default;

base::Result<void> RecipeWriter::flush() {
  if (!compressor_->begun) {
    compressor_->begun = true;
    RETURN_IF_ERROR(compressor_->sink.write(std::as_bytes(std::span(kMagic))));
  }
  if (!literal_.empty()) {
    RETURN_IF_ERROR(compressor_->write(bytes_of(kRecordLiteral), ZSTD_e_continue));
    RETURN_IF_ERROR(
        compressor_->write(bytes_of(static_cast<std::uint32_t>(literal_.size())), ZSTD_e_continue));
    RETURN_IF_ERROR(compressor_->write(std::as_bytes(std::span(literal_)), ZSTD_e_continue));
    literal_.clear();
  }
  if (range_length_ > 0) {
    RETURN_IF_ERROR(compressor_->write(bytes_of(kRecordRange), ZSTD_e_continue));
    RETURN_IF_ERROR(compressor_->write(bytes_of(range_offset_), ZSTD_e_continue));
    RETURN_IF_ERROR(compressor_->write(bytes_of(range_length_), ZSTD_e_continue));
    range_length_ = 0;
  }
  return {};
}

base::Result<void> RecipeWriter::literal(std::span<const std::byte> bytes) {
  if (bytes.empty()) return {};
  if (bytes.size() > literal_left_)
    return base::Error{base::Code::kResourceExhausted, "the layer has too many header bytes"};
  literal_left_ -= bytes.size();
  if (range_length_ > 0 || literal_.size() >= kMaxLiteral) RETURN_IF_ERROR(flush());
  literal_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return {};
}

base::Result<void> RecipeWriter::range(std::uint64_t offset, std::uint64_t length) {
  if (length == 0) return {};
  if (range_length_ > 0 && range_offset_ + range_length_ != offset) RETURN_IF_ERROR(flush());
  if (range_length_ == 0) range_offset_ = offset;
  range_length_ += length;
  return {};
}

base::Result<void> RecipeWriter::finish() {
  RETURN_IF_ERROR(flush());
  return compressor_->write({}, ZSTD_e_end);
}

namespace {

/// Copies `length` bytes of `source`, which must have them.
base::Result<void> copy(ByteSource& source, std::uint64_t length, ByteSink& sink) {
  std::vector<std::byte> buffer(std::min<std::uint64_t>(length, kCopyChunk));
  while (length > 0) {
    auto got = source.read(std::span(buffer).first(std::min<std::uint64_t>(length, buffer.size())));
    if (!got) return std::move(got).error();
    if (*got == 0) return damaged();
    RETURN_IF_ERROR(sink.write(std::span(buffer).first(*got)));
    length -= *got;
  }
  return {};
}

}  // namespace

base::Result<void> rebuild_tar(int recipe, int image, std::uint64_t image_bytes,
                               std::uint64_t tar_bytes, ByteSink& sink) {
  FdSource file(recipe);
  std::array<char, kMagic.size()> magic;
  auto got = read_fully(file, std::as_writable_bytes(std::span(magic)));
  if (!got) return std::move(got).error();
  if (*got != magic.size() || std::string_view(magic.data(), magic.size()) != kMagic)
    return damaged();

  const std::unique_ptr<ByteSource> records = open_zstd(file);
  while (tar_bytes > 0) {
    auto kind = read_number<std::uint8_t>(*records);
    if (!kind) return std::move(kind).error();
    std::uint64_t length = 0;
    if (*kind == kRecordLiteral) {
      auto size = read_number<std::uint32_t>(*records);
      if (!size) return std::move(size).error();
      length = *size;
      if (length > tar_bytes) return damaged();
      RETURN_IF_ERROR(copy(*records, length, sink));
    } else if (*kind == kRecordRange) {
      auto offset = read_number<std::uint64_t>(*records);
      if (!offset) return std::move(offset).error();
      auto size = read_number<std::uint64_t>(*records);
      if (!size) return std::move(size).error();
      length = *size;
      if (length > tar_bytes || *offset > image_bytes || length > image_bytes - *offset)
        return damaged();
      RangeSource range(image, *offset, length);
      RETURN_IF_ERROR(copy(range, length, sink));
    } else {
      return damaged();
    }
    tar_bytes -= length;
  }
  return {};
}

}  // namespace images
