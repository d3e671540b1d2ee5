// Gzip files: compressing one, reading one piece by piece.
//
// Threads: any; a call blocks for as long as its bytes take.
#pragma once

#include <zlib.h>

#include <filesystem>
#include <memory>
#include <span>

#include "vmm/base/result.h"

namespace engine {

/// Replaces `from` by its compressed form `to`. At every moment one of the two is there, whole.
base::Result<void> compress_file(const std::filesystem::path& from,
                                 const std::filesystem::path& to);

class GzipReader {
 public:
  /// kNotFound if there is no such file.
  static base::Result<GzipReader> open(const std::filesystem::path& path);

  /// 0 at the end. A damaged file is an Error.
  base::Result<std::size_t> read(std::span<char> out);
  void rewind() { ::gzrewind(file_.get()); }

 private:
  struct Close {
    void operator()(gzFile file) const { ::gzclose(file); }
  };
  using File = std::unique_ptr<gzFile_s, Close>;
  explicit GzipReader(File file) : file_(std::move(file)) {}

  File file_;
};

}  // namespace engine
