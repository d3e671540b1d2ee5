#include "vmm/devices/block/block.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/virtio/fake_driver.h"

namespace devices {
namespace {

constexpr std::uint64_t kDiskSize = 1u << 20;
constexpr std::uint64_t kCapacity = 4u << 20;
constexpr std::uint64_t kData = 0x80000;
constexpr std::uint8_t kOk = 0;
constexpr std::uint8_t kIoError = 1;
constexpr std::uint8_t kUnsupported = 2;

base::UniqueFd memory_file(std::string_view content = {}, std::uint64_t size = 0) {
  base::UniqueFd file(::memfd_create("disk", MFD_CLOEXEC));
  EXPECT_EQ(::pwrite(file.get(), content.data(), content.size(), 0),
            static_cast<ssize_t>(content.size()));
  if (size > 0) {
    EXPECT_EQ(::ftruncate(file.get(), static_cast<off_t>(size)), 0);
  }
  return file;
}

std::vector<FileExtent> one_file(base::UniqueFd file, std::uint64_t size,
                                 std::uint64_t offset = 0) {
  std::vector<FileExtent> extents;
  extents.push_back({offset, size, std::move(file)});
  return extents;
}

/// A disk with its driver; requests are answered before they return.
class Disk {
 public:
  explicit Disk(BlockDevice::Settings settings)
      : worker_loop_(*base::EventLoop::create()),
        worker_(*IoWorker::create(*worker_loop_)),
        device(std::move(settings), *worker_),
        driver(device) {}

  std::uint8_t request(std::uint32_t type, std::uint64_t sector, std::uint32_t size,
                       bool device_writes) {
    const std::uint64_t header = driver.memory.allocate(32);
    driver.memory.put(header, type);
    driver.memory.put(header + 8, sector);
    driver.memory.put(header + 16, std::uint8_t{0xee});
    std::vector<virtio::FakeQueue::Buffer> buffers = {{.at = header, .size = 16}};
    if (size > 0) buffers.push_back({.at = kData, .size = size, .writable = device_writes});
    buffers.push_back({.at = header + 16, .size = 1, .writable = true});
    driver.queue(0).offer(buffers);
    driver.kick(0);
    if (later_) return kOk;
    worker_->drain();
    const auto used = driver.queue(0).take_used();
    EXPECT_TRUE(used);
    written = used ? used->written : 0;
    return driver.memory.take<std::uint8_t>(header + 16);
  }
  std::uint8_t read(std::uint64_t sector, std::uint32_t size) {
    return request(0, sector, size, true);
  }
  std::uint8_t write(std::uint64_t sector, std::string_view data) {
    driver.memory.put(kData, data);
    return request(1, sector, static_cast<std::uint32_t>(data.size()), false);
  }
  std::uint8_t change_range(std::uint32_t type, std::uint64_t sector, std::uint32_t sectors,
                            std::uint32_t flags = 0) {
    driver.memory.put(kData, sector);
    driver.memory.put(kData + 8, sectors);
    driver.memory.put(kData + 12, flags);
    return request(type, 0, 16, false);
  }
  /// Returns while the worker still writes; drain() waits for it.
  void write_later(std::uint64_t sector, std::string_view data) {
    later_ = true;
    write(sector, data);
    later_ = false;
  }
  void drain() { worker_->drain(); }
  std::string data(std::size_t size) { return driver.memory.text(kData, size); }

 private:
  std::unique_ptr<base::EventLoop> worker_loop_;
  std::unique_ptr<IoWorker> worker_;
  bool later_ = false;

 public:
  BlockDevice device;
  virtio::FakeDriver driver;
  std::uint32_t written = 0;
};

class WritableDiskTest : public testing::Test {
 protected:
  void SetUp() override {
    base::UniqueFd file = memory_file({}, kDiskSize);
    file_ = ::dup(file.get());
    ASSERT_TRUE(disk_.device.attach(one_file(std::move(file), kDiskSize)));
    disk_.driver.start();
  }
  void TearDown() override { ::close(file_); }

  Disk disk_{{.capacity_bytes = kCapacity, .read_only = false, .id = "writable"}};
  int file_ = -1;
};

TEST_F(WritableDiskTest, ReportsItsCapacityNotTheSizeAttached) {
  EXPECT_EQ(disk_.driver.config<std::uint64_t>(0), kCapacity / 512);
  EXPECT_EQ(disk_.driver.config<std::uint32_t>(20), 512u);
}

TEST_F(WritableDiskTest, ReadsWhatWasWritten) {
  const std::string text(512, 'w');

  EXPECT_EQ(disk_.write(9, text), kOk);
  EXPECT_EQ(disk_.written, 1u);
  disk_.driver.memory.put(kData, std::string(1024, 'x'));
  EXPECT_EQ(disk_.read(9, 1024), kOk);

  EXPECT_EQ(disk_.written, 1025u);
  EXPECT_EQ(disk_.data(1024), text + std::string(512, '\0'));
}

TEST_F(WritableDiskTest, WritesLargeRequestsOnTheWorker) {
  const std::string text(512 << 10, 'L');

  EXPECT_EQ(disk_.write(8, text), kOk);
  disk_.driver.memory.put(kData, std::string(512 << 10, 'x'));
  EXPECT_EQ(disk_.read(8, 512 << 10), kOk);

  EXPECT_EQ(disk_.data(512 << 10), text);
}

TEST_F(WritableDiskTest, Flushes) { EXPECT_EQ(disk_.request(4, 0, 0, false), kOk); }

TEST_F(WritableDiskTest, TellsItsId) {
  EXPECT_EQ(disk_.request(8, 0, 20, true), kOk);

  EXPECT_EQ(disk_.data(20), std::string("writable") + std::string(12, '\0'));
}

TEST_F(WritableDiskTest, FailsPastTheAttachedSize) {
  EXPECT_EQ(disk_.read(kDiskSize / 512, 512), kIoError);
  EXPECT_EQ(disk_.read(kDiskSize / 512 - 1, 1024), kIoError);
  EXPECT_EQ(disk_.write(kDiskSize / 512, std::string(512, 'x')), kIoError);
  EXPECT_EQ(disk_.read(~std::uint64_t{0}, 512), kIoError);
  EXPECT_EQ(disk_.write(~std::uint64_t{0} / 512, std::string(512, 'x')), kIoError);
  EXPECT_EQ(disk_.change_range(11, kDiskSize / 512, 8), kIoError);
  EXPECT_EQ(disk_.change_range(13, ~std::uint64_t{0}, 8), kIoError);
  EXPECT_EQ(disk_.write(0, "odd"), kIoError);

  struct stat status {};
  ASSERT_EQ(::fstat(file_, &status), 0);
  EXPECT_EQ(status.st_size, static_cast<off_t>(kDiskSize));
}

TEST_F(WritableDiskTest, GivesDiscardedSpaceBack) {
  ASSERT_EQ(disk_.write(0, std::string(64 << 10, 'd')), kOk);

  EXPECT_EQ(disk_.change_range(11, 0, 128), kOk);

  struct stat status {};
  ASSERT_EQ(::fstat(file_, &status), 0);
  EXPECT_EQ(status.st_blocks, 0);
}

TEST_F(WritableDiskTest, WritesZeroesWithAndWithoutKeepingTheSpace) {
  for (const std::uint32_t unmap : {0u, 1u}) {
    ASSERT_EQ(disk_.write(0, std::string(128 << 10, 'z')), kOk);

    EXPECT_EQ(disk_.change_range(13, 8, 200, unmap), kOk);

    ASSERT_EQ(disk_.read(0, 128 << 10), kOk);
    EXPECT_EQ(disk_.data(128 << 10), std::string(8 * 512, 'z') + std::string(200 * 512, '\0') +
                                         std::string(48 * 512, 'z'));
  }
}

TEST_F(WritableDiskTest, RefusesUnknownRequestsAndFlags) {
  EXPECT_EQ(disk_.request(77, 0, 512, true), kUnsupported);
  EXPECT_EQ(disk_.change_range(11, 0, 8, 1), kUnsupported);
  EXPECT_EQ(disk_.change_range(13, 0, 8, 2), kUnsupported);
  EXPECT_EQ(disk_.change_range(13, 0, (1u << 22) + 1), kIoError);
}

TEST_F(WritableDiskTest, FailsWithoutHeaderOrStatus) {
  disk_.driver.queue(0).offer(
      {{.at = kData, .size = 8}, {.at = kData, .size = 1, .writable = true}});
  EXPECT_EQ(disk_.device.on_kick(0).error().code, base::Code::kInvalidArgument);

  disk_.driver.start();
  disk_.driver.queue(0).offer({{.at = kData, .size = 16}});
  EXPECT_EQ(disk_.device.on_kick(0).error().code, base::Code::kInvalidArgument);
}

TEST_F(WritableDiskTest, FinishesWhatIsInFlightBeforeItPauses) {
  for (std::uint64_t i = 0; i < 4; ++i) {
    const std::uint64_t header = disk_.driver.memory.allocate(32);
    disk_.driver.memory.put(header, std::uint32_t{4});
    disk_.driver.queue(0).offer(
        {{.at = header, .size = 16}, {.at = header + 16, .size = 1, .writable = true}});
  }
  disk_.driver.kick(0);

  disk_.driver.transport.pause();

  for (int i = 0; i < 4; ++i) EXPECT_TRUE(disk_.driver.queue(0).take_used());
}

TEST_F(WritableDiskTest, ForgetsWhatIsInFlightWhenReset) {
  const std::uint64_t header = disk_.driver.memory.allocate(32);
  disk_.driver.memory.put(header, std::uint32_t{4});
  disk_.driver.queue(0).offer(
      {{.at = header, .size = 16}, {.at = header + 16, .size = 1, .writable = true}});
  disk_.driver.kick(0);

  disk_.driver.start();

  EXPECT_FALSE(disk_.driver.queue(0).take_used());
  EXPECT_EQ(disk_.read(0, 512), kOk);
}

TEST_F(WritableDiskTest, BoundsWhatIsInFlightWhenADriverOffersChainsTwice) {
  const std::uint64_t header = disk_.driver.memory.allocate(32);
  disk_.driver.memory.put(header, std::uint32_t{4});
  virtio::FakeQueue& queue = disk_.driver.queue(0);
  const auto head =
      queue.offer({{.at = header, .size = 16}, {.at = header + 16, .size = 1, .writable = true}});
  for (int i = 0; i < 400; ++i) {
    queue.publish(head);
    disk_.driver.kick(0);
  }

  disk_.driver.transport.pause();

  EXPECT_EQ(disk_.driver.transport.fault_count(), 0u);
  EXPECT_EQ(queue.used_index(), 401);
}

TEST_F(WritableDiskTest, TakesFurtherFilesAndGivesThemBack) {
  constexpr std::uint64_t kSecond = 2u << 20;
  const base::UniqueFd second = memory_file();
  const auto attach = [&] {
    return disk_.device.attach(one_file(base::UniqueFd(::dup(second.get())), kDiskSize, kSecond));
  };
  ASSERT_TRUE(attach());
  EXPECT_EQ(attach().error().code, base::Code::kInvalidArgument);
  EXPECT_EQ(disk_.write(kSecond / 512, std::string(512, 's')), kOk);
  EXPECT_EQ(disk_.write(0, std::string(512, 'f')), kOk);

  bool gone = false;
  disk_.device.detach(kSecond, ~std::uint64_t{0}, [&] { gone = true; });
  EXPECT_EQ(disk_.read(kSecond / 512, 512), kIoError);

  EXPECT_TRUE(gone);
  EXPECT_EQ(disk_.read(0, 512), kOk);
  EXPECT_EQ(disk_.data(512), std::string(512, 'f'));
  ASSERT_TRUE(attach());
  EXPECT_EQ(disk_.read(kSecond / 512, 512), kOk);
  EXPECT_EQ(disk_.data(512), std::string(512, 's'));
}

TEST_F(WritableDiskTest, SaysThatAFileIsGoneOnlyAfterWhatWasInFlight) {
  const std::string text(512 << 10, 'L');  // too large to be written at once
  char last = '-';

  disk_.write_later(8, text);
  disk_.device.detach(0, kCapacity, [&] {
    EXPECT_EQ(::pread(file_, &last, 1, static_cast<off_t>(8 * 512 + text.size() - 1)), 1);
  });
  disk_.drain();

  EXPECT_EQ(last, 'L');
}

TEST(EmptyDiskTest, ReadsZerosAndRefusesWritesBeforeAStoreIsAttached) {
  Disk disk({.capacity_bytes = kCapacity, .read_only = false, .id = ""});
  disk.driver.start();
  disk.driver.memory.put(kData, std::string(512, 'x'));

  EXPECT_EQ(disk.read(0, 512), kOk);

  EXPECT_EQ(disk.data(512), std::string(512, '\0'));
  EXPECT_EQ(disk.write(0, std::string(512, 'x')), kIoError);
  EXPECT_EQ(disk.request(4, 0, 0, false), kOk);
}

TEST(EmptyDiskTest, RefusesFilesThatDoNotFit) {
  Disk disk({.capacity_bytes = 1024, .read_only = false, .id = ""});

  EXPECT_FALSE(disk.device.attach(one_file(memory_file(), 2048)));
  EXPECT_FALSE(disk.device.attach(one_file(memory_file(), 512, FileExtent::kAlignment)));
  EXPECT_TRUE(disk.device.attach(one_file(memory_file(), 1024)));
}

class LayersDiskTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kSecond = 4u << 20;

  void SetUp() override {
    std::vector<FileExtent> extents;
    extents.push_back({0, 1024, memory_file(std::string(1024, 'a'))});
    extents.push_back({kSecond, 2048, memory_file(std::string(700, 'b'))});
    ASSERT_TRUE(disk_.device.attach(std::move(extents)));
    disk_.driver.start();
  }

  Disk disk_{{.capacity_bytes = 16u << 20, .read_only = true, .id = "layers"}};
};

TEST_F(LayersDiskTest, ReadsLayersGapsAndShortFiles) {
  disk_.driver.memory.put(kData, std::string(4096, 'x'));
  EXPECT_EQ(disk_.read(1, 1024), kOk);
  EXPECT_EQ(disk_.data(1024), std::string(512, 'a') + std::string(512, '\0'));

  EXPECT_EQ(disk_.read(kSecond / 512 - 1, 512 + 2048), kOk);
  EXPECT_EQ(disk_.data(512 + 2048),
            std::string(512, '\0') + std::string(700, 'b') + std::string(1348, '\0'));

  EXPECT_EQ(disk_.read(1000, 512), kOk);
  EXPECT_EQ(disk_.data(512), std::string(512, '\0'));
}

TEST_F(LayersDiskTest, ReadsAcrossAWholeGap) {
  EXPECT_EQ(disk_.read(0, kSecond + 512), kOk);

  EXPECT_EQ(disk_.data(1024), std::string(1024, 'a'));
  EXPECT_EQ(disk_.driver.memory.text(kData + kSecond, 512), std::string(512, 'b'));
}

TEST_F(LayersDiskTest, FailsPastTheLastLayer) {
  EXPECT_EQ(disk_.read(kSecond / 512 + 4, 512), kIoError);
  EXPECT_EQ(disk_.read(kSecond / 512 + 3, 1024), kIoError);
}

TEST_F(LayersDiskTest, RefusesEveryChange) {
  EXPECT_NE(disk_.driver.offered() & (1u << 5), 0u);
  EXPECT_EQ(disk_.write(0, std::string(512, 'x')), kIoError);
  EXPECT_EQ(disk_.change_range(11, 0, 8), kIoError);
  EXPECT_EQ(disk_.change_range(13, 0, 8), kIoError);
}

/// A container's disk of 1 MiB and a volume of 2 MiB, which ends where another one begins.
class DiskWithVolumesTest : public testing::Test {
 protected:
  static constexpr std::uint64_t kVolume = 2u << 20;
  static constexpr std::uint64_t kNext = 4u << 20;

  void SetUp() override {
    std::vector<FileExtent> extents;
    for (const std::uint64_t offset : {std::uint64_t{0}, kVolume, kNext}) {
      files_.push_back(memory_file());
      extents.push_back(
          {offset, offset == 0 ? kDiskSize : kVolume, base::UniqueFd(::dup(files_.back().get()))});
    }
    ASSERT_TRUE(disk_.device.attach(std::move(extents)));
    disk_.driver.start();
  }

  std::string in_file(std::size_t number, std::uint64_t offset) const {
    std::string text(512, '-');
    const ssize_t size =
        ::pread(files_[number].get(), text.data(), text.size(), static_cast<off_t>(offset));
    text.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
    return text;
  }

  std::vector<base::UniqueFd> files_;
  Disk disk_{{.capacity_bytes = 16u << 20, .read_only = false, .id = "disk"}};
};

TEST_F(DiskWithVolumesTest, ReadsAndWritesEachFileAtItsPlace) {
  EXPECT_EQ(disk_.write(1, std::string(512, 'd')), kOk);
  EXPECT_EQ(disk_.write(kVolume / 512, std::string(512, 'v')), kOk);
  EXPECT_EQ(disk_.write(kNext / 512 - 1, std::string(512, 'w')), kOk);
  EXPECT_EQ(disk_.write(kNext / 512, std::string(512, 'n')), kOk);
  EXPECT_EQ(disk_.request(4, 0, 0, false), kOk);

  EXPECT_EQ(in_file(0, 512), std::string(512, 'd'));
  EXPECT_EQ(in_file(1, 0), std::string(512, 'v'));
  EXPECT_EQ(in_file(1, kVolume - 512), std::string(512, 'w'));
  EXPECT_EQ(in_file(2, 0), std::string(512, 'n'));
  EXPECT_EQ(disk_.read(kNext / 512, 512), kOk);
  EXPECT_EQ(disk_.data(512), std::string(512, 'n'));
}

TEST_F(DiskWithVolumesTest, FailsOutsideOfItsFilesAndAcrossTwo) {
  EXPECT_EQ(disk_.read(kDiskSize / 512, 512), kIoError);
  EXPECT_EQ(disk_.write(kDiskSize / 512 - 1, std::string(1024, 'x')), kIoError);
  EXPECT_EQ(disk_.read(kNext / 512 - 1, 1024), kIoError);
  EXPECT_EQ(disk_.write(kNext / 512 - 1, std::string(1024, 'x')), kIoError);
  EXPECT_EQ(disk_.change_range(13, kNext / 512 - 1, 2), kIoError);
  EXPECT_EQ(disk_.read((kNext + kVolume) / 512, 512), kIoError);

  EXPECT_EQ(in_file(1, kVolume - 512), "");
}

TEST_F(DiskWithVolumesTest, ZeroesAndDiscardsInTheFileThatIsMeant) {
  disk_.write(kVolume / 512, std::string(1024, 'v'));
  disk_.write(kNext / 512, std::string(1024, 'n'));

  EXPECT_EQ(disk_.change_range(13, kNext / 512, 1), kOk);
  EXPECT_EQ(disk_.change_range(11, kVolume / 512, 1), kOk);

  EXPECT_EQ(in_file(1, 512), std::string(512, 'v'));
  EXPECT_EQ(in_file(2, 0), std::string(512, '\0'));
  EXPECT_EQ(in_file(2, 512), std::string(512, 'n'));
}

TEST(DiskStoreTest, RefusesExtentsThatAreNotAllowed) {
  const auto refused = [](std::uint64_t offset, std::uint64_t length, base::UniqueFd file) {
    std::vector<FileExtent> extents;
    extents.push_back({2u << 20, 4u << 20, memory_file()});
    extents.push_back({offset, length, std::move(file)});
    return !LayersStore().with(std::move(extents));
  };

  EXPECT_TRUE(refused(4u << 20, 512, memory_file()));
  EXPECT_TRUE(refused(0, 512, memory_file()));
  EXPECT_TRUE(refused((6u << 20) + 512, 512, memory_file()));
  EXPECT_TRUE(refused(6u << 20, 0, memory_file()));
  EXPECT_TRUE(refused(6u << 20, 100, memory_file()));
  EXPECT_TRUE(refused(6u << 20, ~std::uint64_t{511}, memory_file()));
  EXPECT_TRUE(refused(6u << 20, 512, {}));
  EXPECT_FALSE(refused(6u << 20, 512, memory_file()));
}

TEST(DiskStoreTest, TakesFilesBetweenThoseItHas) {
  const auto with = [](const std::shared_ptr<const DiskStore>& store, std::uint64_t offset,
                       std::uint64_t length) {
    std::vector<FileExtent> extents;
    extents.push_back({offset, length, memory_file()});
    return store->with(std::move(extents));
  };
  std::shared_ptr<const DiskStore> store = std::make_shared<DisksStore>();
  for (const std::uint64_t offset : {8u << 20, 0u, 4u << 20}) {
    auto more = with(store, offset, 2u << 20);
    ASSERT_TRUE(more);
    store = *std::move(more);
  }
  EXPECT_EQ(store->size(), 10u << 20);
  EXPECT_FALSE(with(store, 2u << 20, 4u << 20));
  EXPECT_FALSE(with(store, 4u << 20, 512));
  EXPECT_TRUE(with(store, 2u << 20, 2u << 20));

  EXPECT_EQ(store->without(4u << 20, 8u << 20)->size(), 10u << 20);
  EXPECT_EQ(store->without(4u << 20, 9u << 20)->size(), 2u << 20);
}

}  // namespace
}  // namespace devices
