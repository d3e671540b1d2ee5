// FileTreeWriter: writes entries and data (protocol/files.h) below the working directory, as Docker
// extracts an archive into a container: it makes missing parents and replaces what is in the way.
// Trust: the entries are the client's. Blocks.
#pragma once

#include <string>
#include <vector>

#include "guest-init/files/files_channel.h"

namespace guest_init {

class FileTreeWriter {
 public:
  struct Options {
    bool keep_kind = false;  // a directory is not replaced by a file, nor a file by a directory
    std::int64_t user = -1;  // -1: the entry's own
    std::int64_t group = -1;
    bool owner_comes_last = false;  // set it again at the end, which clears setuid, capabilities
    std::string only_name = {};     // if not empty: replaces the entries' own names
  };

  FileTreeWriter(FilesChannel& channel, Options options)
      : channel_(channel), options_(std::move(options)) {}

  /// Takes entries up to an End or a Place, and returns that frame. kInvalidArgument: the archive
  /// has an entry that must not be written.
  base::Result<wire::RawFrame> run();

 private:
  struct Directory {
    std::string path;
    std::int64_t modified_ns;
  };

  base::Result<void> write(const protocol::files::Entry& entry);
  /// Whether the entry still has to be made.
  base::Result<bool> make_room(const std::string& path, bool for_directory);
  base::Result<void> make(const std::string& path, const protocol::files::Entry& entry);
  base::Result<void> make_file(const std::string& path, const protocol::files::Entry& entry);
  base::Result<void> take_contents(int fd, const std::string& path, std::uint64_t size);
  base::Result<void> set_owner_and_mode(const std::string& path,
                                        const protocol::files::Entry& entry);

  FilesChannel& channel_;
  const Options options_;
  std::vector<Directory> directories_;  // their times are set when all is in them
};

/// "./a//b/../c/" -> "a/c"; "." if nothing is left. kInvalidArgument for a path that leads above
/// ".".
base::Result<std::string> clean_relative_path(std::string_view path);

}  // namespace guest_init
