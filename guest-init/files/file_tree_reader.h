// FileTreeReader: sends a tree of files as entries and data (protocol/files.h). Blocks. Memory: one
// name and number per file with several links.
//
// The container may change the tree meanwhile: each file is sent as it was when the walk reached
// it. A file that shrinks is filled up with zeros; one that vanishes is left out.
#pragma once

#include <sys/stat.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "guest-init/files/files_channel.h"

namespace guest_init {

class FileTreeReader {
 public:
  /// Which extended attributes are sent: an archive for people has capabilities only, an image all
  /// of kept_attributes() (file_metadata.h).
  enum class Attributes { kCapability, kAll };

  explicit FileTreeReader(FilesChannel& channel, Attributes attributes = Attributes::kCapability)
      : channel_(channel), attributes_(attributes) {}

  /// Sends what is at `path`, under `name` ("." or one component), and all that is below.
  base::Result<void> send(const std::string& path, const std::string& name);
  /// Sends what is in the directory `path`, without the directory.
  base::Result<void> send_contents_of(const std::string& path);
  /// Sends `file` of `directory` as `name`; of a directory, nothing that is below. Leaves out a
  /// socket, which no archive can hold, and what is no longer there.
  base::Result<void> send_alone(int directory, const std::string& file, const std::string& name);

 private:
  using Identity = std::pair<dev_t, ino_t>;

  base::Result<void> send_at(int directory, const std::string& file, const std::string& name,
                             int depth);
  base::Result<void> send_children(int directory, const std::string& file, const std::string& name,
                                   int depth);
  base::Result<void> send_entry(int directory, const std::string& file, const std::string& name,
                                const struct stat& status);
  std::vector<protocol::files::ExtendedAttribute> attributes_of(int fd) const;
  base::Result<void> send_contents(int fd, const std::string& name, std::uint64_t size);

  FilesChannel& channel_;
  const Attributes attributes_;
  std::map<Identity, std::string> names_;  // of files with several links, as sent
};

}  // namespace guest_init
