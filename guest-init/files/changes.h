// ContainerChanges: what a container has changed in its image's files, as Docker counts it, as a
// list or as a new layer of an image (protocol/files.h).
//
// The merged tree, which the container sees, is compared with the layers beneath. The upper
// directory of the overlay only tells where to look: what is not named in it has not changed,
// except below a directory that hides or replaces what the layers have (opaque, or renamed). So
// what overlayfs keeps in attributes - redirects, metadata-only copies - is the kernel's to
// resolve. What guest-init itself puts into every container (container/container_filesystem.h) is
// no change.
//
// The container may change its files meanwhile: each is sent as it was when the walk reached it.
// Threads: one. Memory: the names in the directories from the root to where the walk is; for kLayer
// also the names of files with several links.
#pragma once

#include <sys/stat.h>

#include <string>
#include <vector>

#include "guest-init/files/file_tree_reader.h"
#include "guest-init/files/files_channel.h"
#include "guest-init/files/lower_directory.h"

namespace guest_init {

enum class ChangesAs { kList, kLayer };

class ContainerChanges {
 public:
  /// `volumes`: relative paths ("var/lib") of directories whose contents are none of the
  /// container's changes. Such a directory itself is a change if the layers do not have it, as with
  /// Docker.
  ContainerChanges(FilesChannel& channel, ChangesAs form, std::vector<std::string> volumes = {})
      : channel_(channel),
        form_(form),
        volumes_(std::move(volumes)),
        reader_(channel, FileTreeReader::Attributes::kAll) {}

  /// `merged`: the path of the container's root. `layers`: highest first.
  base::Result<void> send(const std::string& merged, base::UniqueFd upper,
                          std::vector<base::UniqueFd> layers);

 private:
  struct Directory {
    Directory* parent = nullptr;
    std::string path;  // "" for the root
    std::string name;
    base::UniqueFd merged;
    base::UniqueFd upper;  // empty: everything in it must be compared
    LowerDirectory lower;
    bool sent = false;
    int depth = 0;
  };

  base::Result<void> compare(Directory& directory);
  base::Result<void> compare_entry(Directory& directory, const std::string& name);
  base::Result<void> compare_volume(Directory& directory, const std::string& name,
                                    const std::string& path);
  base::Result<void> enter(Directory& directory, const std::string& name, const std::string& path,
                           bool sent);
  base::Result<std::vector<std::string>> names_to_compare(const Directory& directory) const;
  /// Sends the change, and before it the directories above that were not sent yet.
  base::Result<void> send_change(Directory& directory, const std::string& name,
                                 const std::string& path, protocol::files::ChangeKind kind);
  base::Result<void> send_parents(Directory* directory);
  base::Result<void> send_one(int directory, const std::string& name, const std::string& path,
                              protocol::files::ChangeKind kind);

  FilesChannel& channel_;
  const ChangesAs form_;
  const std::vector<std::string> volumes_;
  FileTreeReader reader_;
};

}  // namespace guest_init
