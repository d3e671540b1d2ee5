// What the operations of FileSystem ask of the host's kernel, with descriptors opened with O_PATH.
//
// Threads: any that prepare_thread() has prepared: DescriptorName is a path in their working
// directory.
#pragma once

#include <cstdio>

#include "vmm/base/unique_fd.h"
#include "vmm/fileserver/files/answer.h"
#include "vmm/fileserver/files/tree.h"

namespace fileserver {

/// The path of an open file, where a system call takes no descriptor: a link that leads to the
/// file itself, whatever it is called, even if it is a symbolic link.
class DescriptorName {
 public:
  explicit DescriptorName(int fd) { std::snprintf(text_, sizeof text_, "%d", fd); }
  const char* path() const { return text_; }

 private:
  char text_[12];
};

/// statx(2) of the file itself.
Answer<Identified> identify(int fd);

/// Finds `name` in a directory, without following it.
Answer<base::UniqueFd> find_file(int directory, const char* name);

}  // namespace fileserver
