#include "images/store/streams/decompress.h"

#include <bzlib.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

namespace images {

namespace {

constexpr std::size_t kInputBytes = 128u << 10;
constexpr std::uint64_t kMaxWindowBytes = std::uint64_t{128} << 20;
constexpr int kMaxWindowLog = 27;

base::Error damaged(std::string_view format) {
  return {base::Code::kInvalidArgument, std::string(format) + ": invalid compressed data"};
}
base::Error cut_short() { return {base::Code::kDataLoss, "unexpected EOF"}; }

/// First the bytes that were looked at, then the rest of the stream.
class PrefixedSource : public ByteSource {
 public:
  PrefixedSource(std::vector<std::byte> prefix, ByteSource& rest)
      : prefix_(std::move(prefix)), rest_(rest) {}
  base::Result<std::size_t> read(std::span<std::byte> out) override {
    if (used_ == prefix_.size()) return rest_.read(out);
    const std::size_t step = std::min(out.size(), prefix_.size() - used_);
    std::copy_n(prefix_.begin() + static_cast<std::ptrdiff_t>(used_), step, out.begin());
    used_ += step;
    return step;
  }

 private:
  std::vector<std::byte> prefix_;
  std::size_t used_ = 0;
  ByteSource& rest_;
};

/// The loop that all codecs share. `Codec::step` consumes from `in`, fills `out` and says how far
/// the stream is.
enum class Progress { kMore, kEndOfStream, kDamaged };

template <typename Codec>
class CodecSource : public ByteSource {
 public:
  explicit CodecSource(std::unique_ptr<ByteSource> owned)
      : owned_(std::move(owned)), source_(*owned_), input_(kInputBytes) {}
  explicit CodecSource(ByteSource& source) : source_(source), input_(kInputBytes) {}

  base::Result<std::size_t> read(std::span<std::byte> out) override {
    while (true) {
      if (in_.empty()) RETURN_IF_ERROR(refill());
      if (in_.empty() && between_streams_) return std::size_t{0};
      std::span<std::byte> room = out;
      const std::size_t had = in_.size();
      switch (codec_.step(in_, room)) {
        case Progress::kDamaged:
          return damaged(Codec::kName);
        case Progress::kEndOfStream:
          between_streams_ = true;
          if (!codec_.restart()) return damaged(Codec::kName);
          break;
        case Progress::kMore:
          between_streams_ = false;
          break;
      }
      if (room.size() < out.size()) return out.size() - room.size();
      if (between_streams_ || in_.size() < had) continue;
      return had == 0 ? cut_short() : damaged(Codec::kName);
    }
  }

 private:
  base::Result<void> refill() {
    auto got = source_.read(input_);
    if (!got) return std::move(got).error();
    in_ = std::span<const std::byte>(input_).first(*got);
    return {};
  }

  std::unique_ptr<ByteSource> owned_;
  ByteSource& source_;
  std::vector<std::byte> input_;
  std::span<const std::byte> in_;
  bool between_streams_ = true;
  Codec codec_;
};

class Gzip {
 public:
  static constexpr std::string_view kName = "gzip";
  Gzip() { ready_ = inflateInit2(&stream_, 16 + MAX_WBITS) == Z_OK; }
  ~Gzip() { inflateEnd(&stream_); }
  Gzip(const Gzip&) = delete;
  Gzip& operator=(const Gzip&) = delete;

  Progress step(std::span<const std::byte>& in, std::span<std::byte>& out) {
    if (!ready_) return Progress::kDamaged;
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(in.data()));
    stream_.avail_in = static_cast<uInt>(in.size());
    const auto room = static_cast<uInt>(std::min<std::size_t>(out.size(), 1u << 30));
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = room;
    const int result = inflate(&stream_, Z_NO_FLUSH);
    in = in.last(stream_.avail_in);
    out = out.subspan(room - stream_.avail_out);
    if (result == Z_STREAM_END) return Progress::kEndOfStream;
    return result == Z_OK || result == Z_BUF_ERROR ? Progress::kMore : Progress::kDamaged;
  }
  bool restart() { return inflateReset(&stream_) == Z_OK; }

 private:
  z_stream stream_{};
  bool ready_ = false;
};

class Zstd {
 public:
  static constexpr std::string_view kName = "zstd";
  Zstd() { ZSTD_DCtx_setParameter(context_, ZSTD_d_windowLogMax, kMaxWindowLog); }
  ~Zstd() { ZSTD_freeDCtx(context_); }
  Zstd(const Zstd&) = delete;
  Zstd& operator=(const Zstd&) = delete;

  Progress step(std::span<const std::byte>& in, std::span<std::byte>& out) {
    ZSTD_inBuffer input{in.data(), in.size(), 0};
    ZSTD_outBuffer output{out.data(), out.size(), 0};
    const std::size_t result = ZSTD_decompressStream(context_, &output, &input);
    in = in.subspan(input.pos);
    out = out.subspan(output.pos);
    if (ZSTD_isError(result)) return Progress::kDamaged;
    return result == 0 ? Progress::kEndOfStream : Progress::kMore;
  }
  bool restart() { return true; }  // the next frame begins by itself

 private:
  ZSTD_DCtx* context_ = ZSTD_createDCtx();
};

class Xz {
 public:
  static constexpr std::string_view kName = "xz";
  Xz() { ready_ = restart(); }
  ~Xz() { lzma_end(&stream_); }
  Xz(const Xz&) = delete;
  Xz& operator=(const Xz&) = delete;

  Progress step(std::span<const std::byte>& in, std::span<std::byte>& out) {
    if (!ready_) return Progress::kDamaged;
    stream_.next_in = reinterpret_cast<const std::uint8_t*>(in.data());
    stream_.avail_in = in.size();
    stream_.next_out = reinterpret_cast<std::uint8_t*>(out.data());
    stream_.avail_out = out.size();
    const lzma_ret result = lzma_code(&stream_, LZMA_RUN);
    in = in.last(stream_.avail_in);
    out = out.last(stream_.avail_out);
    if (result == LZMA_STREAM_END) return Progress::kEndOfStream;
    return result == LZMA_OK || result == LZMA_BUF_ERROR ? Progress::kMore : Progress::kDamaged;
  }
  bool restart() { return lzma_stream_decoder(&stream_, kMaxWindowBytes, 0) == LZMA_OK; }

 private:
  lzma_stream stream_ = LZMA_STREAM_INIT;
  bool ready_ = false;
};

class Bzip2 {
 public:
  static constexpr std::string_view kName = "bzip2";
  Bzip2() { ready_ = BZ2_bzDecompressInit(&stream_, 0, 0) == BZ_OK; }
  ~Bzip2() { BZ2_bzDecompressEnd(&stream_); }
  Bzip2(const Bzip2&) = delete;
  Bzip2& operator=(const Bzip2&) = delete;

  Progress step(std::span<const std::byte>& in, std::span<std::byte>& out) {
    if (!ready_) return Progress::kDamaged;
    stream_.next_in = reinterpret_cast<char*>(const_cast<std::byte*>(in.data()));
    stream_.avail_in = static_cast<unsigned>(in.size());
    const auto room = static_cast<unsigned>(std::min<std::size_t>(out.size(), 1u << 30));
    stream_.next_out = reinterpret_cast<char*>(out.data());
    stream_.avail_out = room;
    const int result = BZ2_bzDecompress(&stream_);
    in = in.last(stream_.avail_in);
    out = out.subspan(room - stream_.avail_out);
    if (result == BZ_STREAM_END) return Progress::kEndOfStream;
    return result == BZ_OK ? Progress::kMore : Progress::kDamaged;
  }
  bool restart() {
    BZ2_bzDecompressEnd(&stream_);
    stream_ = {};
    return BZ2_bzDecompressInit(&stream_, 0, 0) == BZ_OK;
  }

 private:
  bz_stream stream_{};
  bool ready_ = false;
};

bool starts_with(std::span<const std::byte> bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

}  // namespace

Compression sniff_compression(std::span<const std::byte> first_bytes) {
  using namespace std::string_view_literals;
  if (starts_with(first_bytes, "\x1f\x8b\x08"sv)) return Compression::kGzip;
  if (starts_with(first_bytes, "\x28\xb5\x2f\xfd"sv)) return Compression::kZstd;
  if (starts_with(first_bytes, "\xfd\x37zXZ\0"sv)) return Compression::kXz;
  if (starts_with(first_bytes, "BZh"sv)) return Compression::kBzip2;
  return Compression::kNone;
}

base::Result<std::unique_ptr<ByteSource>> open_decompressed(ByteSource& source) {
  std::vector<std::byte> first(6);
  auto got = read_fully(source, first);
  if (!got) return std::move(got).error();
  first.resize(*got);
  const Compression compression = sniff_compression(first);
  auto whole = std::make_unique<PrefixedSource>(std::move(first), source);
  std::unique_ptr<ByteSource> opened;
  switch (compression) {
    case Compression::kNone:
      opened = std::move(whole);
      break;
    case Compression::kGzip:
      opened = std::make_unique<CodecSource<Gzip>>(std::move(whole));
      break;
    case Compression::kZstd:
      opened = std::make_unique<CodecSource<Zstd>>(std::move(whole));
      break;
    case Compression::kXz:
      opened = std::make_unique<CodecSource<Xz>>(std::move(whole));
      break;
    case Compression::kBzip2:
      opened = std::make_unique<CodecSource<Bzip2>>(std::move(whole));
      break;
  }
  return opened;
}

std::unique_ptr<ByteSource> open_zstd(ByteSource& source) {
  return std::make_unique<CodecSource<Zstd>>(source);
}

}  // namespace images
