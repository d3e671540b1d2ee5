#include "images/registry/gzip_sink.h"

#include <zlib.h>

#include <algorithm>

namespace registry {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr std::size_t kBufferBytes = 128u << 10;
constexpr std::size_t kMaxInput = 1u << 30;
constexpr int kMemoryLevel = 8;

}  // namespace

GzipSink::GzipSink(images::ByteSink& sink)
    : sink_(sink), stream_(std::make_unique<z_stream_s>()), buffer_(kBufferBytes) {
  ready_ = deflateInit2(stream_.get(), Z_DEFAULT_COMPRESSION, Z_DEFLATED, 16 + MAX_WBITS,
                        kMemoryLevel, Z_DEFAULT_STRATEGY) == Z_OK;
}

GzipSink::~GzipSink() { deflateEnd(stream_.get()); }

Result<void> GzipSink::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::size_t step = std::min(bytes.size(), kMaxInput);
    RETURN_IF_ERROR(compress(bytes.first(step), Z_NO_FLUSH));
    bytes = bytes.subspan(step);
  }
  return {};
}

Result<void> GzipSink::finish() { return compress({}, Z_FINISH); }

Result<void> GzipSink::compress(std::span<const std::byte> bytes, int flush) {
  if (!ready_) return Error{Code::kResourceExhausted, "gzip: out of memory"};
  stream_->next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data()));
  stream_->avail_in = static_cast<uInt>(bytes.size());
  while (true) {
    stream_->next_out = reinterpret_cast<Bytef*>(buffer_.data());
    stream_->avail_out = static_cast<uInt>(buffer_.size());
    const int result = deflate(stream_.get(), flush);
    if (result == Z_STREAM_ERROR) return Error{Code::kInternal, "gzip: invalid state"};
    const std::size_t made = buffer_.size() - stream_->avail_out;
    if (made > 0) RETURN_IF_ERROR(sink_.write(std::span(buffer_).first(made)));
    if (flush == Z_FINISH ? result == Z_STREAM_END : stream_->avail_out > 0) return {};
  }
}

}  // namespace registry
