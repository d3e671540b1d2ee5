// A log as it may lie on the disk after a crash, a full disk or a bad one: its present file, one
// that was rotated, one that was compressed, any bytes; read from the start and from the tail,
// while the writer goes on and rotates it.
#include <spdlog/spdlog.h>
#include <stdlib.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "api/engine/output/log_cursor.h"
#include "api/engine/output/log_writer.h"

namespace {

namespace fs = std::filesystem;

/// Without its directory a run would measure the file system only.
const fs::path& directory() {
  static const fs::path made = [] {
    std::string name = (fs::exists("/dev/shm") ? "/dev/shm" : "/tmp") +
                       std::string("/containervm-log-fuzz-XXXXXX");
    if (::mkdtemp(name.data()) == nullptr) __builtin_trap();
    std::atexit([] { fs::remove_all(directory()); });
    return fs::path(name);
  }();
  return made;
}

/// Reads it all; more calls than its bytes allow mean that one made no progress.
void read(engine::LogCursor& cursor, std::size_t most) {
  for (std::size_t calls = 0;; ++calls) {
    const auto batch = cursor.next_batch();
    if (!batch || batch->at_end) return;
    if (calls > most) __builtin_trap();
  }
}

void write(engine::LogWriter& writer, std::string_view text) {
  for (int turns = 0; !text.empty(); ++turns) {
    const auto turn = writer.append(protocol::Stream::kStdout, std::as_bytes(std::span(text)), 1);
    if (turn.blocked) return;
    text.remove_prefix(turn.taken);
    if (turns > 1000) __builtin_trap();
  }
}

std::shared_ptr<engine::LogCursor> open(engine::LogWriter& writer, bool follow) {
  auto cursor = std::make_shared<engine::LogCursor>(writer.files(), follow);
  for (bool done = false; !done;) {
    const auto opened = cursor->open_some();
    if (!opened) __builtin_trap();
    done = *opened;
  }
  writer.add_cursor(cursor);
  return cursor;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 4) return 0;
  spdlog::set_level(spdlog::level::off);  // what is damaged is no news here
  const std::uint8_t choice = data[0];
  const std::size_t tail = data[1];
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 3, size - 3);
  const std::size_t cut = bytes.size() * data[2] / 256;
  const fs::path log = directory() / "log";
  for (const auto& entry : fs::directory_iterator(directory())) fs::remove(entry.path());
  std::ofstream(log, std::ios::binary) << bytes.substr(0, cut);
  const char* const other = (choice & 1) != 0 ? ".1.gz" : ".1";
  std::ofstream(log.string() + other, std::ios::binary) << bytes.substr(cut);
  if ((choice & 2) != 0) std::ofstream(log.string() + ".position", std::ios::binary) << bytes;

  engine::LogWriter writer(log);
  const engine::LogSettings settings{
      .max_size = 1000, .max_files = 3, .compress = (choice & 1) != 0};
  writer.resume(settings);
  const auto first = open(writer, false);
  const auto last = open(writer, (choice & 4) != 0);
  for (std::size_t calls = 0; (choice & 8) != 0; ++calls) {
    const auto sought = last->seek_some(tail);
    if (!sought || *sought) break;
    if (calls > 100 + size) __builtin_trap();
  }
  write(writer, bytes);
  // Deflate makes at most about a thousand bytes of one.
  read(*first, 100 + size);
  read(*last, 100 + size);
  return 0;
}
