// ConsoleLog: keeps what the machine's console says, in a file of bounded size.
#pragma once

#include <filesystem>
#include <string>

#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace emulated {

/// When the file reaches kMaxSize it becomes FILE.old and a new one begins. Threading: one thread.
/// The bytes are the guest's: tail() makes them printable.
class ConsoleLog {
 public:
  static constexpr std::size_t kMaxSize = 4u << 20;

  static base::Result<ConsoleLog> create(std::filesystem::path path);

  /// Takes what `fd` (non-blocking) has now.
  void read_from(int fd);
  /// The last lines, at most 2 KiB.
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
