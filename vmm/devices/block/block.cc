#include "vmm/devices/block/block.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace devices {

namespace {

// virtio 1.2, 5.2.3 and 5.2.6
constexpr std::uint64_t kFeatureSegMax = 1u << 2;
constexpr std::uint64_t kFeatureReadOnly = 1u << 5;
constexpr std::uint64_t kFeatureFlush = 1u << 9;
constexpr std::uint64_t kFeatureDiscard = 1u << 13;
constexpr std::uint64_t kFeatureWriteZeroes = 1u << 14;

enum class Type : std::uint32_t {
  kRead = 0,
  kWrite = 1,
  kFlush = 4,
  kGetId = 8,
  kDiscard = 11,
  kWriteZeroes = 13,
};

constexpr std::uint8_t kOk = 0;
constexpr std::uint8_t kIoError = 1;
constexpr std::uint8_t kUnsupported = 2;

constexpr std::uint64_t kSector = 512;
constexpr std::uint32_t kMaxRangeSectors = 1u << 22;  // 2 GiB
constexpr std::uint32_t kMaxRanges = 16;
constexpr std::uint32_t kUnmap = 1;  // flag of a range
constexpr std::size_t kIdBytes = 20;

/// Larger transfers are left to the worker, cached or not.
constexpr std::size_t kMaxReadNow = 1u << 20;
constexpr std::size_t kMaxWriteNow = 128u << 10;

struct Header {
  std::uint32_t type = 0;
  std::uint32_t reserved = 0;
  std::uint64_t sector = 0;
};

struct Range {
  std::uint64_t sector = 0;
  std::uint32_t sectors = 0;
  std::uint32_t flags = 0;
};

struct [[gnu::packed]] Config {
  std::uint64_t capacity = 0;  // sectors
  std::uint32_t size_max = 0;
  std::uint32_t seg_max = 254;  // what fits beside header and status
  std::uint32_t geometry = 0;
  std::uint32_t block_size = kSector;
  std::uint64_t topology = 0;
  std::uint8_t writeback = 1;
  std::uint8_t unused0 = 0;
  std::uint16_t queues = 1;
  std::uint32_t max_discard_sectors = kMaxRangeSectors;
  std::uint32_t max_discard_ranges = kMaxRanges;
  std::uint32_t discard_alignment = 8;  // sectors: 4 KiB
  std::uint32_t max_write_zeroes_sectors = kMaxRangeSectors;
  std::uint32_t max_write_zeroes_ranges = kMaxRanges;
  std::uint8_t write_zeroes_may_unmap = 1;
  std::uint8_t unused1[3] = {};
};
static_assert(sizeof(Config) == 60);

base::Error broken(const char* what) {
  return {base::Code::kInvalidArgument, std::string("block: ") + what};
}

}  // namespace

struct BlockDevice::Request {
  virtio::Chain chain;                     // without header and status byte
  virtio::Segments status;                 // one byte
  std::shared_ptr<const DiskStore> store;  // the disk's when it came
  Header header;
  std::uint32_t writable = 0;  // bytes of data the device may write
  std::uint8_t result = kOk;

  Type type() const { return static_cast<Type>(header.type); }
};

BlockDevice::BlockDevice(Settings settings, IoWorker& worker)
    : settings_(std::move(settings)), worker_(worker) {}

BlockDevice::~BlockDevice() { reset(); }

base::Result<void> BlockDevice::attach(std::vector<FileExtent> extents) {
  std::shared_ptr<const DiskStore> before = store_;
  if (before == nullptr && settings_.read_only) before = std::make_shared<LayersStore>();
  if (before == nullptr) before = std::make_shared<DisksStore>();
  auto store = before->with(std::move(extents));
  if (!store) return std::move(store).error();
  if ((*store)->size() > settings_.capacity_bytes)
    return base::Error{base::Code::kInvalidArgument, "the files reach beyond the disk's capacity"};
  store_ = *std::move(store);
  return {};
}

void BlockDevice::detach(std::uint64_t begin, std::uint64_t end, std::function<void()> done) {
  if (store_ != nullptr) store_ = store_->without(begin, end);
  // Before the machine runs there is no request in flight, and submit() must not start the thread:
  // run() starts and narrows it.
  if (free_.size() == requests_.size()) return done();
  // The worker does one task after the other, so when this one is done, all requests that began
  // with the old store are over.
  worker_.submit({.work = [] {}, .done = std::move(done)});
}

std::uint64_t BlockDevice::offered_features() const {
  return kFeatureSegMax |
         (settings_.read_only ? kFeatureReadOnly
                              : kFeatureFlush | kFeatureDiscard | kFeatureWriteZeroes);
}

void BlockDevice::read_config(std::uint32_t offset, std::span<std::byte> out) const {
  Config config;
  config.capacity = settings_.capacity_bytes / kSector;
  virtio::copy_config(config, offset, out);
}

base::Result<void> BlockDevice::activate(const virtio::Activation& activation) {
  queue_ = activation.queues[0];
  transport_ = activation.transport;
  write_through_ = (activation.features & kFeatureFlush) == 0;
  stalled_ = false;
  return {};
}

void BlockDevice::reset() {
  queue_ = nullptr;  // requests in flight are finished without an answer
  transport_ = nullptr;
  if (free_.size() < requests_.size()) worker_.drain();
}

void BlockDevice::pause() {
  while (free_.size() < requests_.size()) worker_.drain();
}

base::Result<virtio::Progress> BlockDevice::on_kick(virtio::QueueIndex /*queue*/) {
  return serve();
}

base::Result<virtio::Progress> BlockDevice::serve() {
  queue_->stop_kicks();
  for (int budget = 256; budget > 0; --budget) {
    if (free_.empty() && requests_.size() == queue_->size()) {
      stalled_ = true;
      queue_->interrupt();
      return virtio::Progress::kDone;
    }
    Request& request = take_request();
    const auto popped = queue_->pop(request.chain);
    if (!popped || !*popped) free_.push_back(&request);
    if (!popped) return popped.error();
    if (!*popped) {
      if (queue_->resume_kicks()) continue;
      queue_->interrupt();
      return virtio::Progress::kDone;
    }
    if (auto parsed = parse(request); !parsed) {
      free_.push_back(&request);
      return std::move(parsed).error();
    }
    if (try_now(request)) {
      finish(request);
    } else {
      submit(request);
    }
  }
  queue_->interrupt();
  return virtio::Progress::kMore;
}

BlockDevice::Request& BlockDevice::take_request() {
  if (free_.empty()) free_.push_back(requests_.emplace_back(std::make_unique<Request>()).get());
  Request& request = *free_.back();
  free_.pop_back();
  return request;
}

base::Result<void> BlockDevice::parse(Request& request) const {
  if (!request.chain.readable.read(request.header)) return broken("a request without a header");
  if (request.chain.writable.empty()) return broken("a request without a status byte");
  request.chain.writable.split_tail(1, request.status);
  request.writable = static_cast<std::uint32_t>(request.chain.writable.size());
  request.result = kOk;
  request.store = store_;
  return {};
}

/// Does the request if it cannot take long. False: the worker must do it.
bool BlockDevice::try_now(Request& request) const {
  switch (request.type()) {
    case Type::kRead: {
      if (request.store == nullptr) break;
      if (request.writable > kMaxReadNow || request.header.sector > ~std::uint64_t{0} / kSector)
        return false;
      const auto read = request.store->read(
          request.header.sector * kSector, request.chain.writable.parts(), DiskStore::Wait::kNever);
      if (!read && read.error().code == base::Code::kUnavailable) return false;
      request.result = read ? kOk : kIoError;
      return true;
    }
    case Type::kWrite:
      if (request.store != nullptr &&
          (write_through_ || request.chain.readable.size() > kMaxWriteNow))
        return false;
      break;
    case Type::kFlush:
    case Type::kDiscard:
    case Type::kWriteZeroes:
      if (request.store != nullptr) return false;
      break;
    default:
      break;
  }
  run(request);
  return true;
}

void BlockDevice::run(Request& request) const { request.result = carry_out(request); }

/// Does the request, on any thread: touches only the request and its store. Returns the status for
/// the driver.
std::uint8_t BlockDevice::carry_out(Request& request) const {
  virtio::Chain& chain = request.chain;
  const auto status_of = [](const base::Result<void>& result) { return result ? kOk : kIoError; };
  const bool writes = request.type() != Type::kRead && request.type() != Type::kFlush &&
                      request.type() != Type::kGetId;
  if (writes && settings_.read_only) return kIoError;
  if (request.header.sector > ~std::uint64_t{0} / kSector) return kIoError;
  const std::uint64_t offset = request.header.sector * kSector;
  switch (request.type()) {
    case Type::kRead:
      if (request.store == nullptr) {
        chain.writable.zero(chain.writable.size());
        return kOk;
      }
      return status_of(
          request.store->read(offset, chain.writable.parts(), DiskStore::Wait::kAllowed));
    case Type::kWrite: {
      if (request.store == nullptr || chain.readable.size() % kSector != 0) return kIoError;
      const auto written = request.store->write(offset, chain.readable.parts());
      if (!written || !write_through_) return status_of(written);
      return status_of(request.store->flush());
    }
    case Type::kFlush:
      return request.store == nullptr ? kOk : status_of(request.store->flush());
    case Type::kGetId: {
      std::array<std::byte, kIdBytes> id{};
      std::memcpy(id.data(), settings_.id.data(), std::min(settings_.id.size(), id.size()));
      chain.writable.copy_in(id);
      return kOk;
    }
    case Type::kDiscard:
    case Type::kWriteZeroes:
      return change_ranges(request);
  }
  return kUnsupported;
}

std::uint8_t BlockDevice::change_ranges(Request& request) const {
  if (request.store == nullptr) return kIoError;
  const bool discards = request.type() == Type::kDiscard;
  virtio::Segments& in = request.chain.readable;
  if (in.empty() || in.size() % sizeof(Range) != 0 || in.size() > kMaxRanges * sizeof(Range))
    return kIoError;
  Range range;
  while (in.read(range)) {
    if (range.sectors > kMaxRangeSectors || range.sector > ~std::uint64_t{0} / kSector)
      return kIoError;
    if (range.flags > kUnmap || (discards && range.flags != 0)) return kUnsupported;
    const std::uint64_t offset = range.sector * kSector;
    const std::uint64_t size = range.sectors * kSector;
    const auto changed = discards
                             ? request.store->discard(offset, size)
                             : request.store->write_zeroes(offset, size, range.flags == kUnmap);
    if (!changed) return kIoError;
  }
  return kOk;
}

void BlockDevice::submit(Request& request) {
  worker_.submit({.work = [this, &request] { run(request); },
                  .done = [this, &request] { on_worker_done(request); }});
}

/// Writes the status and gives the chain back to the driver.
void BlockDevice::finish(Request& request) {
  free_.push_back(&request);
  request.store.reset();
  if (queue_ == nullptr) return;  // reset meanwhile
  request.status.write(request.result);
  const bool has_data = request.type() == Type::kRead || request.type() == Type::kGetId;
  const std::uint32_t data = has_data && request.result == kOk ? request.writable : 0;
  queue_->complete(request.chain.head, data + 1);
}

void BlockDevice::on_worker_done(Request& request) {
  finish(request);
  if (queue_ == nullptr) return;
  if (std::exchange(stalled_, false)) transport_->serve_again(0);
  queue_->interrupt();
}

}  // namespace devices
