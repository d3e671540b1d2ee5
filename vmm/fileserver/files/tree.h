// Tree: one shared directory or file of the host, and the numbered set of all of them.
//
// Threads: any. Ownership: nodes and handles keep their tree, and so its descriptor, until they go.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"
#include "vmm/launch/file_server.h"

namespace fileserver {

/// What a file of the host is, and where.
struct Identified {
  struct stat attributes {};
  std::uint64_t mount = 0;
};

struct Tree {
  std::uint32_t number = 0;
  bool read_only = false;
  launch::file_server::Caching caching = launch::file_server::Caching::kStrict;
  base::UniqueFd root;  // O_PATH
  Identified top;       // a directory or a regular file
  std::atomic<bool> removed = false;

  /// How long a guest may believe a name, in seconds.
  double name_timeout() const {
    return caching == launch::file_server::Caching::kRelaxed ? kMostSeconds : 0;
  }
  /// The same for attributes. Those of directories matter on the way to each file, and no data is
  /// read by them.
  double attribute_timeout(mode_t mode) const {
    return S_ISDIR(mode) ? kMostSeconds : name_timeout();
  }

 private:
  static constexpr double kMostSeconds = 1;
};

class Trees {
 public:
  struct Added {
    std::uint32_t number = 0;
    bool read_only = false;
    launch::file_server::Caching caching = launch::file_server::Caching::kStrict;
  };

  /// Errors: launch::file_server::AddTree's.
  base::Result<void> add(const Added& added, base::UniqueFd root);
  /// Takes those with numbers in [begin, end) out of the set and marks them as removed.
  std::vector<std::shared_ptr<Tree>> remove(std::uint32_t begin, std::uint32_t end);

  /// Empty if there is none.
  std::shared_ptr<Tree> find(std::uint32_t number) const;
  /// The lowest that is not below `number`; empty if there is none.
  std::shared_ptr<Tree> at_or_after(std::uint64_t number) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::uint32_t, std::shared_ptr<Tree>> trees_;
};

}  // namespace fileserver
