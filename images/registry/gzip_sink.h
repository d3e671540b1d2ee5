// GzipSink: compresses what is written to it; the same input always gives the same output.
#pragma once

#include <memory>
#include <vector>

#include "images/store/streams/byte_source.h"

struct z_stream_s;

namespace registry {

class GzipSink : public images::ByteSink {
 public:
  /// Writes to `sink`, which outlives it.
  explicit GzipSink(images::ByteSink& sink);
  ~GzipSink() override;
  base::Result<void> write(std::span<const std::byte> bytes) override;
  /// The end of the stream; nothing may follow.
  base::Result<void> finish();

 private:
  base::Result<void> compress(std::span<const std::byte> bytes, int flush);

  images::ByteSink& sink_;
  std::unique_ptr<z_stream_s> stream_;
  std::vector<std::byte> buffer_;
  bool ready_ = false;
};

}  // namespace registry
