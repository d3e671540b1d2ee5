// LayersWindow: the part of a guest's physical memory in which files of the host appear, so that
// all machines that read a layer read the same pages of the host's page cache.
//
// It is one read-only mapping that the machine has from its beginning on; the guest sees at once
// what is mapped over it. A template's window is empty and reads as zeros.
// Trust: the mapping cannot be written, by the guest or by this process: the files are opened for
// reading only. A file that shrinks would end this machine (SIGBUS, or an error of KVM_RUN); layers
// are files that the image store never changes.
// Threads: the device thread.
#pragma once

#include <cstdint>
#include <span>

#include "vmm/base/mapped_region.h"

namespace machine {

class LayersWindow {
 public:
  /// An empty window of `bytes` bytes.
  static base::Result<LayersWindow> create(std::uint64_t bytes);
  LayersWindow() = default;

  struct Extent {
    std::uint64_t offset = 0;  // multiple of 2 MiB
    std::uint64_t length = 0;  // multiple of the page size, not 0
    int file = -1;             // its first `length` bytes; need not stay open
  };

  /// Shows the files at their offsets, which ascend and do not overlap. kInvalidArgument, and
  /// nothing is shown, if one does not fit into the window or its file is too short.
  base::Result<void> show(std::span<const Extent> extents);

  std::span<std::byte> bytes() const { return region_.bytes(); }

 private:
  explicit LayersWindow(base::MappedRegion region) : region_(std::move(region)) {}

  base::MappedRegion region_;
};

}  // namespace machine
