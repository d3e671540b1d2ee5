// TarWriter: the frames of a guest's files tool (guest-init/protocol/files.h) -> a tar archive.
// libarchive speaks tar.
//
// Trust: the frames are the guest's; they may be anything. An error ends the archive. Memory: one
// piece, not one file.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "guest-init/protocol/files.h"
#include "vmm/base/result.h"
#include "vmm/base/wire.h"

struct archive;

namespace engine {

/// Builds a tar archive (pax) in pieces. Threads: any, one at a time.
class TarWriter {
 public:
  /// kLayer: an image's layer. It may hold whiteouts, which become files named ".wh.NAME" (OCI
  /// image spec, layer.md), and so no files with such names.
  enum class Form { kFiles, kLayer };

  static base::Result<std::unique_ptr<TarWriter>> create(Form form = Form::kFiles);
  ~TarWriter();
  TarWriter(const TarWriter&) = delete;
  TarWriter& operator=(const TarWriter&) = delete;

  /// An Entry, Data or End frame. kDataLoss if it breaks the protocol.
  base::Result<void> add(const wire::RawFrame& frame);
  /// Whether an End frame was added.
  bool complete() const { return complete_; }
  /// Takes the bytes that the archive has grown by since the last take().
  std::vector<std::byte> take();

 private:
  explicit TarWriter(Form form) : form_(form) {}
  static ssize_t append(archive* source, void* self, const void* data, std::size_t size);
  base::Result<void> add_entry(const protocol::files::Entry& entry);
  base::Result<void> add_data(std::span<const std::byte> bytes);
  base::Result<void> finish();
  base::Result<void> check(int result);

  const Form form_;
  archive* archive_ = nullptr;
  std::vector<std::byte> out_;
  std::uint64_t missing_ = 0;  // of the present file's contents
  bool complete_ = false;
  bool abandoned_ = false;
};

}  // namespace engine
