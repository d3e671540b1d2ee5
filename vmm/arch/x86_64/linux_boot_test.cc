#include "vmm/arch/x86_64/linux_boot.h"

#include <asm/bootparam.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>

#include "vmm/arch/x86_64/kernel/tiny_kernel.h"
#include "vmm/arch/x86_64/layout.h"
#include "vmm/base/mapped_region.h"
#include "vmm/base/unique_fd.h"

namespace x86_64 {
namespace {

base::UniqueFd file_with(const std::string& contents) {
  base::UniqueFd file(::memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(::write(file.get(), contents.data(), contents.size()),
            static_cast<ssize_t>(contents.size()));
  return file;
}

class LinuxBootTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kBytes = 64_MiB;
  static constexpr std::uint64_t kLinkedAt = 16_MiB;

  LinuxBootTest() {
    ram_ = *base::MappedRegion::map(kBytes, PROT_READ | PROT_WRITE,
                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
    memory_.emplace(*memory::GuestMemory::create({{{0}, ram_.bytes()}}));
    kernel_ = file_with(x86_64::TinyKernel(kLinkedAt, kLinkedAt + 0x1000).bytes());
    boot_.kernel = kernel_.get();
    boot_.command_line = "console=hvc0";
  }

  /// Its header without the flexible array, which no Result can hold.
  struct SetupData {
    std::uint64_t next = 0;
    std::uint32_t type = 0;
    std::uint32_t length = 0;
  };

  boot_params params() const {
    return *memory_->read<boot_params>(memory::GuestAddress{kBootParamsAddress});
  }

  /// The kernel's own address, which it holds at its beginning; it was loaded to `place`.
  std::uint64_t first_address(std::uint64_t place) const {
    return *memory_->read<std::uint64_t>({place});
  }

  base::MappedRegion ram_;
  std::optional<memory::GuestMemory> memory_;
  base::UniqueFd kernel_;
  LinuxBoot boot_;
};

TEST_F(LinuxBootTest, ReturnsTheKernelsEntryPoint) {
  const auto entry = load_linux(*memory_, ram_layout(kBytes), boot_);

  ASSERT_TRUE(entry) << entry.error().message;
  EXPECT_EQ(entry->value, kLinkedAt + 8);
  EXPECT_EQ(first_address(kLinkedAt), x86_64::TinyKernel::kMap + kLinkedAt);
  EXPECT_EQ(params().hdr.loadflags & KASLR_FLAG, 0);
}

TEST_F(LinuxBootTest, ASeedChoosesTheKernelsPlacesAndTellsIt) {
  boot_.layout = LayoutSeed{.memory = 3, .addresses = 5};

  const auto entry = load_linux(*memory_, ram_layout(kBytes), boot_);

  ASSERT_TRUE(entry) << entry.error().message;
  EXPECT_EQ(entry->value, kLinkedAt + 6_MiB + 8);
  EXPECT_EQ(first_address(kLinkedAt + 6_MiB), x86_64::TinyKernel::kMap + kLinkedAt + 10_MiB);
  EXPECT_EQ(params().hdr.loadflags & KASLR_FLAG, KASLR_FLAG);
}

TEST_F(LinuxBootTest, EverySeedGivesPlacesThatTheKernelFitsInto) {
  const auto initramfs = file_with(std::string(5000, 'i'));
  boot_.initramfs = initramfs.get();
  std::set<std::uint64_t> places, addresses;
  for (std::uint64_t seed = 0; seed < 2000; ++seed) {
    boot_.layout = LayoutSeed{.memory = seed, .addresses = ~seed};
    const auto entry = load_linux(*memory_, ram_layout(kBytes), boot_);
    ASSERT_TRUE(entry) << seed << ": " << entry.error().message;
    const std::uint64_t place = entry->value - 8;
    places.insert(place);
    addresses.insert(first_address(place) - x86_64::TinyKernel::kMap);
    ASSERT_TRUE(memory_->copy_in({place}, std::vector<std::byte>(64)));
  }

  EXPECT_EQ(*places.begin(), kLinkedAt);
  EXPECT_EQ(*places.rbegin(), kBytes - 2_MiB);
  EXPECT_EQ(places.size(), (kBytes - kLinkedAt) / 2_MiB);
  EXPECT_EQ(*addresses.begin(), kLinkedAt);
  EXPECT_EQ(*addresses.rbegin(), 1_GiB - 2_MiB);
  EXPECT_EQ(addresses.size(), (1_GiB - kLinkedAt) / 2_MiB);
}

TEST_F(LinuxBootTest, RefusesASeedForAKernelThatCannotBeMoved) {
  x86_64::TinyKernel fixed(kLinkedAt, kLinkedAt + 0x1000);
  fixed.forget_relocations();
  kernel_ = file_with(fixed.bytes());
  boot_.kernel = kernel_.get();
  EXPECT_TRUE(load_linux(*memory_, ram_layout(kBytes), boot_));

  boot_.layout = LayoutSeed{};
  EXPECT_EQ(load_linux(*memory_, ram_layout(kBytes), boot_).error().code,
            base::Code::kInvalidArgument);
}

TEST_F(LinuxBootTest, ChainsDeviceTreeAndSeedInSetupData) {
  const std::vector<std::byte> tree(100, std::byte{0xd7});
  const std::vector<std::byte> seed(32, std::byte{0x5e});
  boot_.device_tree = tree;
  boot_.rng_seed = seed;

  ASSERT_TRUE(load_linux(*memory_, ram_layout(kBytes), boot_));

  const auto first = *memory_->read<SetupData>({params().hdr.setup_data});
  EXPECT_EQ(first.type, 2u);
  EXPECT_EQ(first.length, 100u);
  EXPECT_EQ(ram_.data()[params().hdr.setup_data + sizeof first], std::byte{0xd7});
  const auto second = *memory_->read<SetupData>({first.next});
  EXPECT_EQ(second.type, 9u);
  EXPECT_EQ(second.length, 32u);
  EXPECT_EQ(second.next, 0u);
}

TEST_F(LinuxBootTest, PutsTheInitramfsBelowTheGenerationPage) {
  const auto initramfs = file_with(std::string(5000, 'i'));
  boot_.initramfs = initramfs.get();

  ASSERT_TRUE(load_linux(*memory_, ram_layout(kBytes), boot_));

  const std::uint64_t at = params().hdr.ramdisk_image;
  EXPECT_EQ(params().hdr.ramdisk_size, 5000u);
  EXPECT_EQ(at % kPageSize, 0u);
  EXPECT_LE(at + 5000, generation_page(ram_layout(kBytes)).value);
  EXPECT_EQ(ram_.data()[at + 4999], std::byte{'i'});
}

TEST_F(LinuxBootTest, RefusesAnInitramfsThatReachesIntoTheKernel) {
  const auto initramfs = file_with("");
  ASSERT_EQ(::ftruncate(initramfs.get(), 60_MiB), 0);
  boot_.initramfs = initramfs.get();

  EXPECT_EQ(load_linux(*memory_, ram_layout(kBytes), boot_).error().code,
            base::Code::kResourceExhausted);
}

TEST_F(LinuxBootTest, RefusesACommandLineTheKernelWouldCut) {
  boot_.command_line.assign(kCommandLineCapacity, 'x');

  EXPECT_EQ(load_linux(*memory_, ram_layout(kBytes), boot_).error().code,
            base::Code::kInvalidArgument);
}

TEST_F(LinuxBootTest, MapsTheFirstFourGibibytesOneToOne) {
  ASSERT_TRUE(load_linux(*memory_, ram_layout(kBytes), boot_));

  for (const std::uint64_t address : {std::uint64_t{0}, kHighStart, kVirtioStart, 4_GiB - 1}) {
    constexpr std::uint64_t kFrame = 0x000ffffffffff000;
    const auto top = *memory_->read<std::uint64_t>({kPageTablesAddress});
    const auto pointer =
        *memory_->read<std::uint64_t>({(top & kFrame) + 8 * ((address >> 30) & 511)});
    const auto entry =
        *memory_->read<std::uint64_t>({(pointer & kFrame) + 8 * ((address >> 21) & 511)});
    EXPECT_EQ(entry & kFrame, address & ~(2_MiB - 1)) << address;
    EXPECT_EQ(entry & 0x83, 0x83u);
  }
}

TEST(RamLayoutTest, PutsWhatDoesNotFitBelowTheHoleAboveFourGibibytes) {
  EXPECT_EQ(ram_layout(512_MiB).high_bytes, 0u);
  EXPECT_EQ(ram_layout(3_GiB).high_bytes, 0u);
  EXPECT_EQ(ram_layout(8_GiB).low_bytes, 3_GiB);
  EXPECT_EQ(ram_layout(8_GiB).high_bytes, 5_GiB);
}

TEST(E820MapTest, CoversAllRamOnceAndKeepsTheGenerationPageFromTheKernel) {
  for (const std::uint64_t bytes : {128_MiB, 3_GiB, 4_GiB, 16_GiB}) {
    const RamLayout ram = ram_layout(bytes);
    const auto map = e820_map(ram);

    std::uint64_t covered = 0;
    std::uint64_t end = 0;
    for (const E820Range& range : map) {
      EXPECT_GE(range.start, end);
      end = range.start + range.size;
      covered += range.size;
    }
    EXPECT_EQ(covered, bytes);
    EXPECT_NE(
        std::find(map.begin(), map.end(), E820Range{generation_page(ram).value, kPageSize, 2}),
        map.end());
  }
}

}  // namespace
}  // namespace x86_64
