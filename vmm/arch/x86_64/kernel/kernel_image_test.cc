#include "vmm/arch/x86_64/kernel/kernel_image.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <optional>

#include "vmm/arch/x86_64/kernel/tiny_kernel.h"
#include "vmm/base/mapped_region.h"
#include "vmm/base/unique_fd.h"
#include "vmm/base/units.h"

namespace x86_64 {
namespace {

using namespace base;  // NOLINT: the unit literals

class KernelImageTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kBytes = 8_MiB;

  KernelImageTest() {
    ram_ = *MappedRegion::map(kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
    memory_.emplace(*memory::GuestMemory::create({{{0}, ram_.bytes()}}));
  }

  Result<KernelImage> load(const KernelShift& shift = {},
                           std::size_t file_bytes = sizeof(TinyKernel)) {
    UniqueFd file(::memfd_create("kernel", MFD_CLOEXEC));
    EXPECT_EQ(::write(file.get(), &image_, file_bytes), static_cast<ssize_t>(file_bytes));
    const auto kernel = KernelFile::open(file.get());
    if (!kernel) return kernel.error();
    return kernel->load(*memory_, {1_MiB}, {kBytes - 4_KiB}, shift);
  }

  template <typename T>
  T loaded(std::uint64_t address) const {
    return *memory_->read<T>({address});
  }

  /// Nothing but zeros outside of what a kernel may be loaded to.
  bool untouched_elsewhere() const {
    const auto zero = [](std::byte byte) { return byte == std::byte{}; };
    const std::span<const std::byte> all(ram_.data(), kBytes);
    const auto below = all.first(1_MiB);
    const auto above = all.subspan(kBytes - 4_KiB);
    return std::all_of(below.begin(), below.end(), zero) &&
           std::all_of(above.begin(), above.end(), zero);
  }

  MappedRegion ram_;
  std::optional<memory::GuestMemory> memory_;
  TinyKernel image_{2_MiB, 4_MiB};
};

TEST_F(KernelImageTest, LoadsSegmentsAtTheirPhysicalAddresses) {
  const auto image = load();

  ASSERT_TRUE(image) << image.error().message;
  EXPECT_EQ(image->entry.value, 2_MiB + 8);
  EXPECT_EQ(image->start.value, 2_MiB);
  EXPECT_EQ(image->end.value, 4_MiB + 0x3000);
  EXPECT_EQ(loaded<std::uint64_t>(2_MiB), image_.code[0]);
  EXPECT_EQ(ram_.data()[2_MiB + 63], std::byte{0xc3});
  EXPECT_EQ(ram_.data()[2_MiB + 64], std::byte{0});
}

TEST_F(KernelImageTest, LoadsSegmentsElsewhere) {
  const auto image = load({.in_memory = 2_MiB});

  ASSERT_TRUE(image) << image.error().message;
  EXPECT_EQ(image->entry.value, 4_MiB + 8);
  EXPECT_EQ(image->start.value, 4_MiB);
  EXPECT_EQ(image->end.value, 6_MiB + 0x3000);
  EXPECT_EQ(loaded<std::uint64_t>(4_MiB), image_.code[0]);
  EXPECT_EQ(loaded<std::uint64_t>(2_MiB), 0u);
}

TEST_F(KernelImageTest, RelocatesEachKindOfValue) {
  const auto image = load({.in_memory = 2_MiB, .in_addresses = 64_MiB});

  ASSERT_TRUE(image) << image.error().message;
  EXPECT_EQ(loaded<std::uint64_t>(4_MiB), image_.code[0] + 64_MiB);
  EXPECT_EQ(loaded<std::uint64_t>(4_MiB + 8), image_.code[1] - 64_MiB);
  EXPECT_EQ(loaded<std::uint64_t>(4_MiB + 16), image_.code[2] + 64_MiB);
  EXPECT_EQ(loaded<std::uint64_t>(4_MiB + 24), image_.code[3]);
}

TEST_F(KernelImageTest, ChangesOnlyTheLow32BitsOf32BitValues) {
  image_.code[1] = 0xaaaaaaaa'00000001;
  image_.code[2] = 0xbbbbbbbb'ffffffff;

  ASSERT_TRUE(load({.in_addresses = 2_MiB}));

  EXPECT_EQ(loaded<std::uint64_t>(2_MiB + 8), 0xaaaaaaaa'ffe00001);
  EXPECT_EQ(loaded<std::uint64_t>(2_MiB + 16), 0xbbbbbbbb'001fffff);
}

TEST_F(KernelImageTest, AKernelWithoutATableIsNotRelocated) {
  image_.forget_relocations();

  EXPECT_TRUE(load({.in_memory = 2_MiB}));
  EXPECT_EQ(load({.in_addresses = 2_MiB}).error().code, Code::kInvalidArgument);
}

TEST_F(KernelImageTest, RefusesRelocationsOutsideOfTheKernel) {
  const auto end = 4_MiB + 0x3000;
  for (const std::size_t list : {1u, 3u, 5u})
    for (const std::int32_t entry :
         {TinyKernel::entry(2_MiB - 1), TinyKernel::entry(end - 3), TinyKernel::entry(end),
          TinyKernel::entry(0), 1, -1, std::numeric_limits<std::int32_t>::min(),
          std::numeric_limits<std::int32_t>::max()}) {
      TinyKernel hostile(2_MiB, 4_MiB);
      hostile.relocations[list] = entry;
      image_ = hostile;
      EXPECT_EQ(load({.in_addresses = 2_MiB}).error().code, Code::kInvalidArgument)
          << list << ": " << entry;
      EXPECT_TRUE(untouched_elsewhere());
    }
}

TEST_F(KernelImageTest, TakesRelocationsAtTheVeryEndOfTheKernel) {
  image_.relocations[1] = TinyKernel::entry(4_MiB + 0x3000 - 8);
  image_.relocations[5] = TinyKernel::entry(2_MiB);

  EXPECT_TRUE(load({.in_addresses = 2_MiB}));
  image_.relocations[1] = TinyKernel::entry(4_MiB + 0x3000 - 7);
  EXPECT_FALSE(load({.in_addresses = 2_MiB}));
}

TEST_F(KernelImageTest, RefusesTablesThatAreNone) {
  const auto refused = [&] {
    const auto image = load({.in_addresses = 2_MiB});
    image_ = TinyKernel(2_MiB, 4_MiB);
    return !image;
  };

  image_.relocations[0] = TinyKernel::entry(2_MiB);  // no list begins
  EXPECT_TRUE(refused());
  image_.relocations[5] = 0;  // one list too many
  EXPECT_TRUE(refused());
  image_.relocations[2] = TinyKernel::entry(2_MiB);  // one too few
  EXPECT_TRUE(refused());
  image_.sections[1].sh_size = 0;
  EXPECT_TRUE(refused());
  image_.sections[1].sh_size -= 1;
  EXPECT_TRUE(refused());
  image_.sections[1].sh_size = kMaxRelocationBytes + 4;
  EXPECT_TRUE(refused());
  image_.sections[1].sh_offset = sizeof(TinyKernel);
  EXPECT_TRUE(refused());
  image_.sections[1].sh_offset = ~std::uint64_t{0} - 4;
  EXPECT_TRUE(refused());
  image_.sections[1].sh_type = SHT_NOBITS;
  EXPECT_TRUE(refused());
}

TEST_F(KernelImageTest, RefusesUnusableSectionHeaders) {
  const auto refusal = [&]() -> std::optional<Code> {
    const auto image = load();
    image_ = TinyKernel(2_MiB, 4_MiB);
    if (image) return std::nullopt;
    return image.error().code;
  };

  image_.header.e_shentsize = 8;
  EXPECT_EQ(refusal(), Code::kInvalidArgument);
  image_.header.e_shnum = 0xffff;
  EXPECT_EQ(refusal(), Code::kInvalidArgument);
  image_.header.e_shstrndx = 3;
  EXPECT_EQ(refusal(), Code::kInvalidArgument);
  image_.header.e_shoff = ~std::uint64_t{0} - 7;
  EXPECT_EQ(refusal(), Code::kDataLoss);
  image_.sections[2].sh_offset = ~std::uint64_t{0};
  EXPECT_EQ(refusal(), Code::kDataLoss);
  image_.sections[2].sh_offset = ~std::uint64_t{0};
  image_.sections[0].sh_name = 1;
  EXPECT_EQ(refusal(), Code::kInvalidArgument);
  image_.sections[2].sh_size = ~std::uint64_t{0};
  image_.sections[0].sh_name = 0xfffffff0;
  EXPECT_EQ(refusal(), Code::kDataLoss);
}

TEST_F(KernelImageTest, RefusesSegmentsOutsideUsableMemory) {
  for (const std::uint64_t at : {std::uint64_t{0}, 1_MiB - 1, kBytes - 4_KiB - 0xfff, kBytes,
                                 ~std::uint64_t{0}, ~std::uint64_t{0} - 0xfff}) {
    image_.segments[0] = TinyKernel::segment(at, 64, 0x1000);
    EXPECT_EQ(load().error().code, Code::kInvalidArgument) << at;
  }
}

TEST_F(KernelImageTest, RefusesShiftsOutOfUsableMemory) {
  for (const std::uint64_t shift : {4_MiB, kBytes, ~std::uint64_t{0}, ~std::uint64_t{0} - 1_MiB}) {
    EXPECT_EQ(load({.in_memory = shift}).error().code, Code::kInvalidArgument) << shift;
    EXPECT_TRUE(untouched_elsewhere());
  }
}

TEST_F(KernelImageTest, RefusesSizesThatWrap) {
  image_.segments[0] = TinyKernel::segment(2_MiB, 64, ~std::uint64_t{0});
  EXPECT_EQ(load().error().code, Code::kInvalidArgument);

  image_.segments[0] = TinyKernel::segment(2_MiB, 0x2000, 0x1000);
  EXPECT_EQ(load().error().code, Code::kInvalidArgument);

  image_.segments[0] = TinyKernel::segment(2_MiB, 64, 0x1000);
  image_.segments[0].p_offset = ~std::uint64_t{0} - 16;
  EXPECT_EQ(load().error().code, Code::kDataLoss);
}

TEST_F(KernelImageTest, RefusesAnEntryPointThatWasNotLoaded) {
  for (const std::uint64_t entry : {std::uint64_t{0}, 3_MiB, 4_MiB + 0x3000}) {
    image_.header.e_entry = entry;
    EXPECT_EQ(load().error().code, Code::kInvalidArgument) << entry;
  }
}

TEST_F(KernelImageTest, RefusesOtherFiles) {
  image_.header.e_machine = EM_AARCH64;
  EXPECT_EQ(load().error().code, Code::kInvalidArgument);

  image_.header.e_ident[0] = 'M';
  EXPECT_EQ(load().error().code, Code::kInvalidArgument);
}

TEST_F(KernelImageTest, RefusesEveryTruncatedFile) {
  for (std::size_t size = 0; size < sizeof(TinyKernel); ++size)
    EXPECT_FALSE(load({.in_addresses = 2_MiB}, size)) << size;
}

}  // namespace
}  // namespace x86_64
