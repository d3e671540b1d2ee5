#include "vmm/machine/layers_window.h"

#include <sys/stat.h>

#include "vmm/base/units.h"
#include "vmm/launch/messages.h"

namespace machine {
namespace {

using base::operator""_MiB;

constexpr std::uint64_t kAlignment = 2_MiB;

base::Result<void> check(const LayersWindow::Extent& extent, std::uint64_t free_from,
                         std::uint64_t window) {
  const bool placed = extent.offset % kAlignment == 0 && extent.offset >= free_from &&
                      extent.length > 0 && extent.length % launch::kWindowPage == 0 &&
                      extent.offset <= window && extent.length <= window - extent.offset;
  if (!placed)
    return base::Error{base::Code::kInvalidArgument,
                       "layers must be aligned, ascending, not empty and inside the window"};
  struct stat status {};
  if (::fstat(extent.file, &status) != 0) return base::errno_error("fstat of a layer");
  // A mapping goes on beyond the end of its file, but a read there is a fault.
  if (status.st_size < 0 || static_cast<std::uint64_t>(status.st_size) < extent.length)
    return base::Error{base::Code::kInvalidArgument, "a layer's file is shorter than the layer"};
  return {};
}

}  // namespace

base::Result<LayersWindow> LayersWindow::create(std::uint64_t bytes) {
  auto region =
      base::MappedRegion::map(bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
  if (!region) return base::annotate(std::move(region), "layers window");
  return LayersWindow(*std::move(region));
}

base::Result<void> LayersWindow::show(std::span<const Extent> extents) {
  std::uint64_t free_from = 0;
  for (const Extent& extent : extents) {
    RETURN_IF_ERROR(check(extent, free_from, region_.size()));
    free_from = extent.offset + extent.length;
  }
  for (const Extent& extent : extents) {
    void* const at = ::mmap(region_.data() + extent.offset, extent.length, PROT_READ,
                            MAP_SHARED | MAP_FIXED, extent.file, 0);
    if (at == MAP_FAILED) return base::errno_error("mmap of a layer");
  }
  return {};
}

}  // namespace machine
