// LayerFiles: the files of one tenant's layers, and temporary files while they are made.
//
// A file in layers/ is complete and synced; which of them count, only the database says
// (catalog.h). Threads: publish() and remove() under the owner's mutex, the rest from any.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace images {

class LayerFiles {
 public:
  /// A layer being written. Disappears with this object unless published.
  struct Draft {
    base::UniqueFd image;
    base::UniqueFd recipe;
    std::string image_path;
    std::string recipe_path;

    Draft() = default;
    Draft(Draft&&) = default;
    Draft& operator=(Draft&&) = delete;
    ~Draft();
  };

  /// Makes the directories below `root` and empties tmp/. One process per root at a time:
  /// kUnavailable if another has it open.
  static base::Result<LayerFiles> open(const std::string& root, const std::string& tenant);

  /// Deletes what a crash left in layers/: files of layers that are not in `known`.
  base::Result<void> remove_unknown(const std::set<std::string>& known);

  /// A file without a name, for bytes that are needed only for a while.
  base::Result<base::UniqueFd> spool() const;
  base::Result<Draft> draft() const;
  /// Makes the draft's bytes durable.
  base::Result<void> sync(Draft& draft) const;
  /// Gives a synced draft its final names.
  base::Result<void> publish(Draft& draft, std::string_view diff_id);
  void remove(std::string_view diff_id);

  std::string image_path(std::string_view diff_id) const { return path(diff_id, ".erofs"); }
  std::string recipe_path(std::string_view diff_id) const { return path(diff_id, ".recipe"); }
  /// What the layer takes on disk.
  std::uint64_t allocated_bytes(std::string_view diff_id) const;

 private:
  LayerFiles() = default;
  std::string path(std::string_view diff_id, std::string_view suffix) const;

  base::UniqueFd lock_;
  std::string layers_;
  std::string temporary_;
};

}  // namespace images
