#include "vmm/arch/x86_64/device_tree.h"

#include <libfdt.h>

#include <array>
#include <cinttypes>
#include <cstdio>
#include <string>
#include <string_view>

#include "vmm/arch/x86_64/layout.h"

namespace x86_64 {
namespace {

constexpr std::size_t kCapacity = 64_KiB;
constexpr std::uint32_t kIoapicHandle = 1;
constexpr std::uint32_t kEdgeRising = 3;  // of_ioapic_type[] in the kernel's devicetree.c

/// Writes nodes in order and remembers the first error.
class Writer {
 public:
  explicit Writer(std::vector<std::byte>& blob) : blob_(blob) {
    check(fdt_create(blob_.data(), static_cast<int>(blob_.size())));
    check(fdt_finish_reservemap(blob_.data()));
  }

  void begin(const std::string& name) { check(fdt_begin_node(blob_.data(), name.c_str())); }
  void end() { check(fdt_end_node(blob_.data())); }

  void text(const char* name, std::string_view value) {
    const std::string terminated(value);
    check(fdt_property(blob_.data(), name, terminated.c_str(),
                       static_cast<int>(terminated.size() + 1)));
  }
  void flag(const char* name) { check(fdt_property(blob_.data(), name, nullptr, 0)); }

  template <typename... Cells>
  void cells(const char* name, Cells... values) {
    const std::array<fdt32_t, sizeof...(values)> raw{
        cpu_to_fdt32(static_cast<std::uint32_t>(values))...};
    check(fdt_property(blob_.data(), name, raw.data(), static_cast<int>(sizeof raw)));
  }

  int finish() {
    check(fdt_finish(blob_.data()));
    return error_;
  }

 private:
  void check(int result) {
    if (error_ == 0 && result < 0) error_ = result;
  }

  std::vector<std::byte>& blob_;
  int error_ = 0;
};

std::string at(const char* name, std::uint64_t address) {
  char text[64];
  std::snprintf(text, sizeof text, "%s@%" PRIx64, name, address);
  return text;
}

void write_processors(Writer& tree, std::uint32_t count) {
  tree.begin("cpus");
  tree.cells("#address-cells", 1);
  tree.cells("#size-cells", 0);
  for (std::uint32_t id = 0; id < count; ++id) {
    tree.begin(at("cpu", id));
    tree.text("device_type", "cpu");
    tree.cells("reg", id);
    tree.end();
  }
  tree.end();
}

void write_interrupt_controllers(Writer& tree) {
  tree.begin(at("interrupt-controller", kLapicAddress));
  tree.text("compatible", "intel,ce4100-lapic");
  tree.cells("reg", kLapicAddress, kPageSize);
  tree.flag("intel,virtual-wire-mode");
  tree.end();

  tree.begin(at("interrupt-controller", kIoapicAddress));
  tree.text("compatible", "intel,ce4100-ioapic");
  tree.cells("reg", kIoapicAddress, kPageSize);
  tree.flag("interrupt-controller");
  tree.cells("#interrupt-cells", 2);
  tree.cells("#address-cells", 0);
  tree.cells("phandle", kIoapicHandle);
  tree.end();
}

void write_devices(Writer& tree, const Hardware& hardware) {
  for (const std::uint32_t slot : hardware.virtio_slots) {
    const std::uint64_t address = kVirtioStart + slot * kVirtioStride;
    tree.begin(at("virtio", address));
    tree.text("compatible", "virtio,mmio");
    tree.cells("reg", address, kVirtioRegisters);
    tree.cells("interrupts", virtio_pin(slot), kEdgeRising);
    tree.end();
  }
  tree.begin(at("vmgenid", hardware.generation_address));
  tree.text("compatible", "microsoft,vmgenid");
  tree.cells("reg", hardware.generation_address, kPageSize);
  tree.cells("interrupts", kGenerationPin, kEdgeRising);
  tree.end();
}

}  // namespace

base::Result<std::vector<std::byte>> make_device_tree(const Hardware& hardware) {
  std::vector<std::byte> blob(kCapacity);
  Writer tree(blob);
  tree.begin("");
  tree.text("compatible", "containervm,machine");
  tree.text("model", "containerVM");
  tree.cells("#address-cells", 1);
  tree.cells("#size-cells", 1);
  tree.cells("interrupt-parent", kIoapicHandle);
  tree.begin("chosen");
  tree.end();
  write_processors(tree, hardware.vcpus);
  tree.begin("soc");
  tree.text("compatible", "simple-bus");
  tree.cells("#address-cells", 1);
  tree.cells("#size-cells", 1);
  tree.flag("ranges");
  write_interrupt_controllers(tree);
  write_devices(tree, hardware);
  tree.end();
  tree.end();
  if (const int error = tree.finish(); error != 0)
    return base::Error{base::Code::kInternal, std::string("device tree: ") + fdt_strerror(error)};
  blob.resize(fdt_totalsize(blob.data()));
  return blob;
}

}  // namespace x86_64
