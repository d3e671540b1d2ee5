#include "vmm/arch/x86_64/kernel/relocations.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "vmm/base/read_file.h"

namespace x86_64 {
namespace {

constexpr std::size_t kEntriesAtOnce = 4096;

base::Error malformed(std::string what) {
  return {base::Code::kInvalidArgument, "kernel relocations: " + std::move(what)};
}

class Relocator {
 public:
  Relocator(std::span<std::byte> image, std::uint64_t linked_at, std::uint64_t shift)
      : image_(image), linked_at_(linked_at), shift_(shift) {}

  base::Result<void> apply(std::span<const std::int32_t> entries) {
    for (const std::int32_t entry : entries) {
      if (entry == 0) {
        if (list_ == List::k32) return malformed("the table has more than three lists");
        list_ = static_cast<List>(static_cast<int>(list_) + 1);
      } else if (!apply(entry)) {
        return malformed("the table names an address outside of the kernel");
      }
    }
    return {};
  }

  bool complete() const { return list_ == List::k32; }

 private:
  enum class List { kNone, k64, kInverse32, k32 };

  bool apply(std::int32_t entry) {
    // Sign extension turns the entry into an address of the kernel's half of the address space.
    const std::uint64_t at = static_cast<std::uint64_t>(std::int64_t{entry}) - linked_at_;
    switch (list_) {
      case List::kNone:
        return false;
      case List::k64:
        return add<std::uint64_t>(at, shift_);
      case List::kInverse32:
        return add<std::uint32_t>(at, ~shift_ + 1);
      case List::k32:
        return add<std::uint32_t>(at, shift_);
    }
    return false;
  }

  template <typename T>
  bool add(std::uint64_t at, std::uint64_t amount) {
    if (image_.size() < sizeof(T) || at > image_.size() - sizeof(T)) return false;
    T value{};
    std::memcpy(&value, image_.data() + at, sizeof value);
    value += static_cast<T>(amount);
    std::memcpy(image_.data() + at, &value, sizeof value);
    return true;
  }

  std::span<std::byte> image_;
  std::uint64_t linked_at_;
  std::uint64_t shift_;
  List list_ = List::kNone;
};

}  // namespace

base::Result<void> relocate(int file, FileRange table, std::span<std::byte> image,
                            std::uint64_t linked_at, std::uint64_t shift) {
  if (table.size > kMaxRelocationBytes || table.size % sizeof(std::int32_t) != 0)
    return malformed("the table is too long or its size is not a multiple of 4");
  Relocator relocator(image, linked_at, shift);
  std::array<std::int32_t, kEntriesAtOnce> entries;
  for (std::uint64_t done = 0; done < table.size;) {
    const auto some = std::span(entries).first(static_cast<std::size_t>(
        std::min<std::uint64_t>((table.size - done) / sizeof(std::int32_t), entries.size())));
    RETURN_IF_ERROR(base::read_fully(file, table.offset + done, std::as_writable_bytes(some)));
    RETURN_IF_ERROR(relocator.apply(some));
    done += some.size_bytes();
  }
  if (!relocator.complete()) return malformed("the table has fewer than three lists");
  return {};
}

}  // namespace x86_64
