#include "vmm/boot/kernel_image.h"

#include <elf.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <random>

#include "vmm/base/mapped_region.h"
#include "vmm/base/unique_fd.h"
#include "vmm/base/units.h"

namespace boot {
namespace {

using namespace base;  // NOLINT: the unit literals

struct Image {
  Elf64_Ehdr header{};
  Elf64_Phdr segments[2]{};
  char code[64]{};
};

class KernelImageTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kBytes = 8_MiB;

  KernelImageTest() {
    ram_ = *MappedRegion::map(kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
    memory_.emplace(*memory::GuestMemory::create({{{0}, ram_.bytes()}}));
    std::memcpy(image_.header.e_ident, ELFMAG, SELFMAG);
    image_.header.e_ident[EI_CLASS] = ELFCLASS64;
    image_.header.e_ident[EI_DATA] = ELFDATA2LSB;
    image_.header.e_machine = EM_X86_64;
    image_.header.e_type = ET_EXEC;
    image_.header.e_entry = 2_MiB + 8;
    image_.header.e_phoff = offsetof(Image, segments);
    image_.header.e_phentsize = sizeof(Elf64_Phdr);
    image_.header.e_phnum = 2;
    image_.segments[0] = segment(2_MiB, 64, 0x1000);
    image_.segments[1] = segment(4_MiB, 0, 0x3000);
    std::memset(image_.code, 0xc3, sizeof image_.code);
  }

  static Elf64_Phdr segment(std::uint64_t at, std::uint64_t in_file, std::uint64_t in_memory) {
    Elf64_Phdr header{};
    header.p_type = PT_LOAD;
    header.p_offset = offsetof(Image, code);
    header.p_paddr = at;
    header.p_filesz = in_file;
    header.p_memsz = in_memory;
    return header;
  }

  Result<KernelImage> load(std::size_t file_bytes = sizeof(Image)) {
    UniqueFd file(::memfd_create("kernel", MFD_CLOEXEC));
    EXPECT_EQ(::write(file.get(), &image_, file_bytes), static_cast<ssize_t>(file_bytes));
    return load_kernel(*memory_, file.get(), {1_MiB}, {kBytes - 4_KiB});
  }

  MappedRegion ram_;
  std::optional<memory::GuestMemory> memory_;
  Image image_;
};

TEST_F(KernelImageTest, LoadsSegmentsAtTheirPhysicalAddresses) {
  const auto image = load();

  ASSERT_TRUE(image) << image.error().message;
  EXPECT_EQ(image->entry.value, 2_MiB + 8);
  EXPECT_EQ(image->start.value, 2_MiB);
  EXPECT_EQ(image->end.value, 4_MiB + 0x3000);
  EXPECT_EQ(ram_.data()[2_MiB + 63], std::byte{0xc3});
  EXPECT_EQ(ram_.data()[2_MiB + 64], std::byte{0});
}

TEST_F(KernelImageTest, RefusesSegmentsOutsideUsableMemory) {
  for (const std::uint64_t at : {std::uint64_t{0}, 1_MiB - 1, kBytes - 4_KiB - 0xfff, kBytes,
                                 ~std::uint64_t{0}, ~std::uint64_t{0} - 0xfff}) {
    image_.segments[0] = segment(at, 64, 0x1000);
    EXPECT_EQ(load().error().code, Code::kInvalidArgument) << at;
  }
}

TEST_F(KernelImageTest, RefusesSizesThatWrap) {
  image_.segments[0] = segment(2_MiB, 64, ~std::uint64_t{0});
  EXPECT_EQ(load().error().code, Code::kInvalidArgument);

  image_.segments[0] = segment(2_MiB, 0x2000, 0x1000);
  EXPECT_EQ(load().error().code, Code::kInvalidArgument);

  image_.segments[0] = segment(2_MiB, 64, 0x1000);
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
  for (std::size_t size = 0; size < sizeof(Image); ++size) EXPECT_FALSE(load(size)) << size;
}

TEST_F(KernelImageTest, SurvivesRandomHeaders) {
  std::mt19937_64 random(1);  // a fixed seed: the same run every time
  const Image sound = image_;
  for (int round = 0; round < 2000; ++round) {
    image_ = sound;
    auto* const bytes = reinterpret_cast<unsigned char*>(&image_);
    for (int change = 0; change < 4; ++change)
      bytes[random() % offsetof(Image, code)] = static_cast<unsigned char>(random());
    if (const auto image = load(); image) {
      EXPECT_LE(image->end.value, kBytes - 4_KiB);
    }
  }
}

}  // namespace
}  // namespace boot
