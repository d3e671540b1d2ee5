// Spool: files without names for what clients send and fetch, so that neither a thread nor memory
// waits for a client that is slow.
//
// Disk: the files together take at most half of what would be free without them. Of that, the
// second half is for clients that have little in it: one that fills the spool leaves room for
// others. What has no room is kResourceExhausted.
// Lifetime: the files outlive the Spool. Threads: any; one file is written by one thread at a time.
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

/// What is in memory between the connections and the disk, of one Spool's files. The io_context
/// thread only; a transfer that is dropped at the end gives its part back when the Spool is gone.
class SpoolMemory {
 public:
  void take(std::size_t bytes) { bytes_ += bytes; }
  void give_back(std::size_t bytes) { bytes_ -= bytes; }
  /// How much of one client's may be there.
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

  /// Appends. Blocks while the disk does. Blocks of zeros become holes, and take no room.
  base::Result<void> write(std::span<const std::byte> bytes);

  /// Its first size() bytes are the contents; the position is the end.
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

  base::Result<SpoolFilePtr> open(ClientId client);

  /// What `first` has and the rest of the request's body. kResourceExhausted for more than `limit`
  /// bytes or no room, kUnavailable for a body that breaks off, kDeadlineExceeded for one that does
  /// not come.
  net::awaitable<base::Result<SpoolFilePtr>> receive(Exchange& exchange, std::uint64_t limit,
                                                     std::string first = {});

  /// Writes the file to the answer that has begun.
  net::awaitable<base::Result<void>> send(Exchange& exchange, SpoolFilePtr file);

  /// All of a small file.
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
