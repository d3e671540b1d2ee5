// LayerGroup: the cgroup of one running containervm-layer, which limits its memory and processes.
//
// Threads: any. Made before the process is started in it, and removed when it has been reaped.
#pragma once

#include <string>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace images {

class LayerGroup {
 public:
  /// "layer-<n>" below the cgroup v2 directory `parent`, which gives its children the memory and
  /// pids controllers. Empty: no group.
  static base::Result<LayerGroup> make(const std::string& parent);

  LayerGroup(LayerGroup&& other) noexcept;
  LayerGroup& operator=(LayerGroup&&) = delete;
  ~LayerGroup();

  /// The open directory, to start a process in; -1 without a group.
  int directory() const { return directory_.get(); }

 private:
  LayerGroup(std::string path, base::UniqueFd directory)
      : path_(std::move(path)), directory_(std::move(directory)) {}

  std::string path_;
  base::UniqueFd directory_;
};

}  // namespace images
