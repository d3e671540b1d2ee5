// ContainerArchives: looks at, reads and writes a container's files as tar archives, and tells what
// has changed in them.
//
// The files tool of the container's guest does it (../containers/container_files.h), also for a
// container that does not run; the host looks up no name of a container.
// Threads: the io_context thread; an archive that comes is converted on a thread of `streams`.
// Lifetime: what it is given outlives it; it outlives the readers that it makes.
// Errors carry Docker's words: kNotFound for a path that is not there, kInvalidArgument,
// kPermissionDenied for a container without writable files.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "api/async/blocking_pool.h"
#include "api/engine/containers/containers.h"
#include "api/engine/files/file_readers.h"
#include "images/store/streams/byte_source.h"

namespace engine {

/// A path of a container.
struct FilePlace {
  ContainerPtr container;
  std::string path;   // absolute, otherwise as it was asked for
  std::string named;  // the container, as the client calls it: for errors

  /// `path` and `named`: a client's, not empty.
  static base::Result<FilePlace> make(ContainerPtr container, std::string path, std::string named);
};

/// What is at a path.
struct FileStatus {
  std::string name;  // the last part of the path
  std::uint64_t size = 0;
  std::uint32_t mode = 0;  // as st_mode
  std::int64_t modified_ns = 0;
  std::string link_target;  // no longer than a path
};

struct ReadFiles {
  FileStatus status;
  std::unique_ptr<ArchiveReader> archive;
};

struct WriteFiles {
  FilePlace into;
  bool keeps_kind = false;  // a directory is not replaced by a file, nor the other way round
  bool to_user = false;     // the files become the container's user's
};

class ContainerArchives {
 public:
  ContainerArchives(Containers& containers, async::BlockingPool& streams)
      : containers_(containers), streams_(streams) {}

  net::awaitable<base::Result<FileStatus>> stat(FilePlace place);
  /// Reads what is at a place. When the archive was taken to its end, listeners are told of it
  /// ("archive-path").
  net::awaitable<base::Result<ReadFiles>> read(FilePlace place);
  /// Reads all files of a container; listeners are told of it in the same way ("export").
  std::unique_ptr<ArchiveReader> read_all(ContainerPtr container);
  std::unique_ptr<ChangeReader> read_changes(ContainerPtr container);

  /// Whether files can be written at all, asked before a client sends them.
  base::Result<void> check_writable(const Container& container) const;
  /// Extracts `tar`, which is read on a pool's thread and should wait for nobody: a machine is kept
  /// for it. Done when the files are safe; "extract-to-dir".
  net::awaitable<base::Result<void>> write(WriteFiles request,
                                           std::shared_ptr<images::ByteSource> tar);

 private:
  net::awaitable<void> convert(std::shared_ptr<images::ByteSource> tar,
                               std::shared_ptr<base::UniqueFd> out,
                               std::shared_ptr<base::Result<void>> result);

  Containers& containers_;
  async::BlockingPool& streams_;
};

}  // namespace engine
