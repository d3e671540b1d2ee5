#include "api/engine/container_log.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>

#include "api/engine/gzip_file.h"

namespace engine {

using base::Result;
using protocol::Stream;
using namespace net::experimental::awaitable_operators;  // NOLINT: operator|| only

namespace {

/// A file of at most this size is compressed at once: faster than a turn on the pool.
constexpr std::int64_t kCompressAtOnce = 256 << 10;

Result<void> write_all(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return base::errno_error("write container log");
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

/// A missing file is fine: a crash may have come between two renames.
void rename_log(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0 && errno != ENOENT)
    spdlog::error("{}", base::errno_error("rotate " + from.string()).message);
}

void compress_log(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (const auto compressed = compress_file(from, to); !compressed)
    spdlog::error("{}", compressed.error().message);
}

}  // namespace

ContainerLog::ContainerLog(net::any_io_executor executor, std::filesystem::path path,
                           std::chrono::milliseconds patience)
    : executor_(executor),
      path_(std::move(path)),
      patience_(patience),
      changed_(executor),
      progress_(executor) {}

std::filesystem::path ContainerLog::numbered(int number, std::string_view extension) const {
  return path_.string() + "." + std::to_string(number) + std::string(extension);
}

void ContainerLog::begin(LogSettings settings, async::BlockingPool& pool) {
  set_up(std::move(settings), pool);
  const auto created = position_.create(position_path());
  if (!created) spdlog::warn("{}", created.error().message);
  has_position_ = created.has_value();
}

std::optional<LogPosition::Streams> ContainerLog::resume(LogSettings settings,
                                                         async::BlockingPool& pool) {
  set_up(std::move(settings), pool);
  const auto found = position_.open(position_path());
  if (!found) spdlog::warn("{}", found.error().message);
  has_position_ = found.has_value();
  if (!found) return std::nullopt;
  struct stat status {};
  if (found->unfinished && ::stat(path_.c_str(), &status) == 0 &&
      status.st_ino == found->unfinished->inode && status.st_size > found->unfinished->size &&
      ::truncate(path_.c_str(), found->unfinished->size) == 0)
    size_ = found->unfinished->size;
  stdout_.lines_bytes = found->streams.out;
  stderr_.lines_bytes = found->streams.err;
  return found->streams;
}

void ContainerLog::set_up(LogSettings settings, async::BlockingPool& pool) {
  settings_ = std::move(settings);
  pool_ = &pool;
  struct stat status {};
  if (!file_) size_ = ::stat(path_.c_str(), &status) == 0 ? status.st_size : 0;
  // The last daemon may have died before it was done with this.
  std::error_code error;
  if (settings_.compress && !compressing_ && std::filesystem::exists(numbered(1), error))
    compress_newest();
}

bool ContainerLog::anyone_behind() const {
  return std::any_of(followers_.begin(), followers_.end(), [](const LogReader* reader) {
    return reader->is_behind() && !reader->given_up_;
  });
}

net::awaitable<void> ContainerLog::ready() {
  const auto self = shared_from_this();
  while (settings_.blocking && compressing_ && is_full()) co_await progress_.wait();
  const auto due = std::chrono::steady_clock::now() + patience_;
  while (settings_.blocking && anyone_behind() && std::chrono::steady_clock::now() < due) {
    net::steady_timer timer(executor_, due);
    co_await (timer.async_wait(async::kTuple) || progress_.wait());
  }
  for (LogReader* reader : followers_) {
    if (!reader->is_behind()) continue;
    reader->given_up_ = true;
    reader->skip_what_is_behind();
  }
}

std::size_t ContainerLog::unsafe_bytes(Stream stream) const {
  if (!has_position_) return 0;
  return (stream == Stream::kStderr ? stderr_ : stdout_).text.size();
}

Result<void> ContainerLog::append(Stream stream, std::span<const std::byte> bytes, TimeNs now) {
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  Unfinished& line = stream == Stream::kStderr ? stderr_ : stdout_;
  while (!text.empty()) {
    const std::size_t room = kMaxLine - line.text.size();
    const std::size_t newline = text.find('\n');
    const std::size_t take =
        std::min({room, text.size(), newline == text.npos ? newline : newline + 1});
    line.text.append(text.substr(0, take));
    text.remove_prefix(take);
    if (line.text.back() != '\n' && line.text.size() < kMaxLine) break;
    add_line(stream, line, now);
  }
  auto written = write_out();
  changed_.notify_all();
  return written;
}

Result<void> ContainerLog::finish(TimeNs now) {
  if (!stdout_.text.empty()) add_line(Stream::kStdout, stdout_, now);
  if (!stderr_.text.empty()) add_line(Stream::kStderr, stderr_, now);
  auto written = write_out();
  stdout_ = stderr_ = Unfinished();
  file_.reset();
  changed_.notify_all();
  return written;
}

void ContainerLog::add_line(Stream stream, Unfinished& line, TimeNs now) {
  const bool whole = line.text.back() == '\n';
  // All parts of a split line bear the time of the first.
  if (!whole && line.split_at == 0) line.split_at = now;
  const TimeNs time = line.split_at != 0 ? line.split_at : now;
  if (whole) line.split_at = 0;
  if (is_full()) failure_ = rotate();
  // Still full: a file is being compressed. What the log may not wait for is dropped.
  const bool drop =
      is_full() && !settings_.blocking && size_ - settings_.max_size >= settings_.max_buffer;
  if (!drop) {
    const std::size_t before = lines_.size();
    append_log_line(lines_, stream, line.text, time, settings_.attributes);
    size_ += static_cast<std::int64_t>(lines_.size() - before);
  }
  line.lines_bytes += line.text.size();
  line.text.clear();
}

Result<void> ContainerLog::open_file() {
  if (file_) return {};
  file_.reset(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640));
  if (!file_) return base::errno_error("open " + path_.string());
  struct stat status {};
  if (::fstat(file_.get(), &status) != 0) return base::errno_error("stat " + path_.string());
  inode_ = status.st_ino;
  size_ = status.st_size + static_cast<std::int64_t>(lines_.size());
  for (LogReader* reader : followers_)
    if (!reader->has_live_file()) reader->add_live_file(path_);
  return {};
}

/// What could not be written is dropped, whole lines of it: the process goes on, as with Docker.
Result<void> ContainerLog::write_out() {
  Result<void> result = std::exchange(failure_, {});
  if (!lines_.empty()) {
    Result<void> written = open_file();
    if (written) {
      position_.begin_write(inode_, size_ - static_cast<std::int64_t>(lines_.size()));
      written = write_all(file_.get(), lines_);
    }
    if (!written && file_) {
      size_ -= static_cast<std::int64_t>(lines_.size());
      [[maybe_unused]] const int cut = ::ftruncate(file_.get(), size_);
    }
    if (!written) result = std::move(written);
    lines_.clear();
  }
  position_.end_write({.out = stdout_.lines_bytes, .err = stderr_.lines_bytes});
  return result;
}

Result<void> ContainerLog::rotate() {
  // The name .1 is taken until it is compressed: the file grows on a little.
  if (compressing_) return {};
  RETURN_IF_ERROR(write_out());
  RETURN_IF_ERROR(open_file());
  const bool small = size_ <= kCompressAtOnce;
  for (LogReader* reader : followers_) reader->seal();
  file_.reset();
  shift_files();
  RETURN_IF_ERROR(open_file());
  if (!settings_.compress) return {};
  if (small) {
    compress_log(numbered(1), numbered(1, ".gz"));
  } else {
    compress_newest();
  }
  return {};
}

/// ID-json.log becomes .1, .1 becomes .2, and the last one goes. No process of this host looks at
/// these names meanwhile: it would be this thread.
void ContainerLog::shift_files() {
  const std::string_view extension = settings_.compress ? ".gz" : "";
  const int most = settings_.max_files - 1;
  if (most == 0) {
    ::unlink(path_.c_str());
    return;
  }
  int last = 0;
  std::error_code error;
  while (last < most && std::filesystem::exists(numbered(last + 1, extension), error)) ++last;
  if (last == most) {
    ::unlink(numbered(last, extension).c_str());
    --last;
  }
  for (; last > 0; --last) rename_log(numbered(last, extension), numbered(last + 1, extension));
  rename_log(path_, numbered(1));
}

void ContainerLog::compress_newest() {
  compressing_ = true;
  net::co_spawn(executor_, compress_on_pool(shared_from_this(), *pool_), net::detached);
}

net::awaitable<void> ContainerLog::compress_on_pool(std::shared_ptr<ContainerLog> self,
                                                    async::BlockingPool& pool) {
  const std::function<bool()> compress = [from = self->numbered(1), to = self->numbered(1, ".gz")] {
    compress_log(from, to);
    return true;
  };
  co_await pool.run(compress);
  self->compressing_ = false;
  self->progress_.notify_all();
}

net::awaitable<void> ContainerLog::idle() {
  const auto self = shared_from_this();
  while (compressing_) co_await progress_.wait();
}

Result<std::unique_ptr<LogReader>> ContainerLog::read(bool follow) {
  std::unique_ptr<LogReader> reader(new LogReader(shared_from_this(), follow));
  RETURN_IF_ERROR(reader->open_files());
  return reader;
}

}  // namespace engine
