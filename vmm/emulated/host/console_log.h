// ConsoleLog: keeps what the machine's console says, in two files of bounded size.
#pragma once

#include <filesystem>
#include <string>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace emulated {

/// When the file at `path` reaches kMaxSize bytes it becomes FILE.old and a new one begins.
/// Threading: one thread. Trust: the bytes are the machine's, and the files have them as they are;
/// tail() leaves out what is not printable.
class ConsoleLog {
 public:
  static constexpr std::size_t kMaxSize = 4u << 20;

  /// Begins an empty file at `path`.
  static base::Result<ConsoleLog> create(std::filesystem::path path);

  /// Reads what `fd` (non-blocking) has now. A failed write loses log, and nothing else.
  void read_from(int fd);
  /// The last lines, at most 2 KiB, in printable ASCII.
  std::string tail() const;

 private:
  ConsoleLog(std::filesystem::path path, base::UniqueFd file)
      : path_(std::move(path)), file_(std::move(file)) {}
  void rotate();

  std::filesystem::path path_;
  base::UniqueFd file_;
  std::size_t size_ = 0;
  std::string last_;
};

}  // namespace emulated
