// Spool: keeps what clients send and fetch in files without names, so that neither a thread nor
// much memory waits for a client that is slow.
//
// Disk: the files together take at most half of what would be free without them. Of that, the
// second half is for clients that have little in it: one that fills the spool leaves room for
// others. What has no room is kResourceExhausted.
// Lifetime: the files outlive the Spool. Threads: the io_context thread for a Spool; any for a
// file, which one thread at a time writes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "api/async/blocking_pool.h"
#include "api/async/net.h"
#include "api/http/client_id.h"
#include "api/http/exchange.h"
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace http {

/// Who has how much in the spool.
class SpoolSpace {
 public:
  explicit SpoolSpace(std::string directory) : directory_(std::move(directory)) {}

  base::Result<void> take(ClientId client, std::uint64_t bytes);
  void give_back(ClientId client, std::uint64_t bytes);

 private:
  const std::string directory_;
  std::mutex mutex_;
  std::uint64_t total_ = 0;
  std::map<ClientId, std::uint64_t> by_client_;
};

/// Counts the bytes of one Spool's transfers that are in memory, between connections and disk. Used
/// on the io_context thread only. Transfers share it, so it may outlive its Spool.
class SpoolMemory {
 public:
  void take(std::size_t bytes) { bytes_ += bytes; }
  void give_back(std::size_t bytes) { bytes_ -= bytes; }
  /// How many bytes one transfer may have in memory before it stops reading from its client.
  std::size_t piece_limit() const;

 private:
  std::size_t bytes_ = 0;
};

class SpoolFile {
 public:
  SpoolFile(base::UniqueFd file, std::shared_ptr<SpoolSpace> space, ClientId client)
      : file_(std::move(file)), space_(std::move(space)), client_(client) {}
  ~SpoolFile();
  SpoolFile(const SpoolFile&) = delete;
  SpoolFile& operator=(const SpoolFile&) = delete;

  /// Appends. Blocks while the disk is busy. Blocks of zeros become holes and take no room.
  base::Result<void> write(std::span<const std::byte> bytes);

  /// The file. Its first size() bytes are the contents; its position is behind them.
  int fd() const { return file_.get(); }
  std::uint64_t size() const { return size_; }

 private:
  base::UniqueFd file_;
  std::shared_ptr<SpoolSpace> space_;
  const ClientId client_;
  base::Result<void> store(std::span<const std::byte> bytes);
  std::uint64_t reserved_ = 0;
  std::uint64_t stored_ = 0;  // without the holes
  std::uint64_t size_ = 0;
};
using SpoolFilePtr = std::shared_ptr<SpoolFile>;

class Spool {
 public:
  /// `pool`, which outlives it, does the disk's work, a piece at a time.
  Spool(async::BlockingPool& pool, std::string directory)
      : pool_(pool),
        directory_(std::move(directory)),
        space_(std::make_shared<SpoolSpace>(directory_)),
        memory_(std::make_shared<SpoolMemory>()) {}

  /// Makes an empty file whose size is counted for `client`.
  base::Result<SpoolFilePtr> open(ClientId client);

  /// Receives `first` and then the rest of the request's body into a new file. kResourceExhausted
  /// for more than `limit` bytes or no room, kUnavailable for a body that breaks off,
  /// kDeadlineExceeded for one that does not come.
  net::awaitable<base::Result<SpoolFilePtr>> receive(Exchange& exchange, std::uint64_t limit,
                                                     std::string first = {});

  /// Writes the file into the answer, which begin_stream() has begun.
  net::awaitable<base::Result<void>> send(Exchange& exchange, SpoolFilePtr file);

  /// Reads a small file into memory, all of it.
  net::awaitable<base::Result<std::string>> text_of(SpoolFilePtr file);

 private:
  net::awaitable<base::Result<void>> append(SpoolFilePtr file, std::span<const std::byte> bytes);
  net::awaitable<base::Result<std::size_t>> read_at(SpoolFilePtr file, std::uint64_t offset,
                                                    std::span<std::byte> out);

  async::BlockingPool& pool_;
  const std::string directory_;
  const std::shared_ptr<SpoolSpace> space_;
  const std::shared_ptr<SpoolMemory> memory_;
};

}  // namespace http
