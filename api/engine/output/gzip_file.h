// Gzip files: compressing one, reading one piece by piece.
//
// Threads: any; a call blocks for as long as its bytes take.
#pragma once

#include <zlib.h>

#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace engine {

/// Replaces a file by its compressed form, a step at a time. At every moment one of the two is
/// there, whole. If this is destroyed before the last step, the unfinished file is removed.
class GzipReplacement {
 public:
  GzipReplacement(std::filesystem::path from, std::filesystem::path to);
  ~GzipReplacement();
  GzipReplacement(const GzipReplacement&) = delete;
  GzipReplacement& operator=(const GzipReplacement&) = delete;

  /// Does at most kStep bytes more. True: it is replaced. After an Error, which leaves the file as
  /// it is, there are no more steps.
  base::Result<bool> step();

 private:
  static constexpr std::size_t kStep = 256u << 10;

  base::Result<void> open();
  base::Result<bool> copy_some();
  base::Result<void> replace();

  const std::filesystem::path from_;
  const std::filesystem::path to_;
  const std::string unfinished_;
  base::UniqueFd source_;
  gzFile target_ = nullptr;
};

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
