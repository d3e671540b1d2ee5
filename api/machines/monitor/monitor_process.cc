#include "api/machines/monitor/monitor_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <sstream>

#include "api/async/readiness.h"
#include "api/machines/monitor/control_socket.h"
#include "vmm/base/printable.h"
#include "vmm/base/seqpacket.h"
#include "vmm/base/units.h"

namespace engine {

namespace {

using base::Code;
using base::Error;
using base::Result;
using base::operator""_MiB;
namespace fs = std::filesystem;

constexpr std::size_t kMaxSmallFile = 64u << 10;
constexpr std::size_t kMaxLastWords = 512;
constexpr int kStrayPatienceMs = 3000;

/// Reads all of a small file; any bytes.
Result<wire::Bytes> read_small_file(const fs::path& path) {
  const base::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return base::errno_error("open " + path.string());
  wire::Bytes bytes(kMaxSmallFile);
  const ssize_t size = ::read(file.get(), bytes.data(), bytes.size());
  if (size < 0) return base::errno_error("read " + path.string());
  bytes.resize(static_cast<std::size_t>(size));
  return bytes;
}

/// Reads the end of a file that may be long; any bytes.
Result<wire::Bytes> read_tail(const fs::path& path) {
  const base::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return base::errno_error("open " + path.string());
  const off_t size = ::lseek(file.get(), 0, SEEK_END);
  if (size < 0) return base::errno_error("seek in " + path.string());
  wire::Bytes bytes(kMaxLastWords);
  const ssize_t got = ::pread(file.get(), bytes.data(), bytes.size(),
                              std::max<off_t>(0, size - static_cast<off_t>(bytes.size())));
  if (got < 0) return base::errno_error("read " + path.string());
  bytes.resize(static_cast<std::size_t>(got));
  return bytes;
}

Result<void> write_small_file(const fs::path& path, const wire::Bytes& bytes) {
  const base::UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) return base::errno_error("create " + path.string());
  if (::write(file.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
    return base::errno_error("write " + path.string());
  return {};
}

Result<base::UniqueFd> create_file(const fs::path& path, int flags) {
  base::UniqueFd file(::open(path.c_str(), flags | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file) return base::errno_error("create " + path.string());
  return file;
}

/// Field 22 of /proc/<pid>/stat; 0 if there is no such process.
std::uint64_t start_time_of(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  std::getline(stat, line);
  const std::size_t after_name = line.rfind(')');
  if (after_name == std::string::npos) return 0;
  std::istringstream rest(line.substr(after_name + 1));
  std::string field;
  for (int index = 3; index < 22; ++index) rest >> field;
  std::uint64_t start_time = 0;
  rest >> start_time;
  return start_time;
}

base::UniqueFd open_pidfd(pid_t pid) {
  return base::UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

/// The recorded process, if it still is that one.
base::UniqueFd find_process(const MonitorProcess::Record& record) {
  if (record.pid <= 0) return {};
  base::UniqueFd pidfd = open_pidfd(record.pid);
  if (!pidfd || start_time_of(record.pid) != record.start_time) return {};
  return pidfd;
}

std::string describe(const siginfo_t& info) {
  if (info.si_code == CLD_EXITED) return "exited with status " + std::to_string(info.si_status);
  return "was killed by signal " + std::to_string(info.si_status);
}

}  // namespace

MonitorProcess::MonitorProcess(MonitorLauncher& launcher, net::any_io_executor executor,
                               std::string name, Record record, base::UniqueFd pidfd, bool child)
    : launcher_(launcher),
      name_(std::move(name)),
      record_(std::move(record)),
      pidfd_(executor, pidfd.release()),
      child_(child) {}

fs::path MonitorProcess::directory() const { return launcher_.config_.run / name_; }

Result<void> MonitorProcess::rename(const std::string& name) {
  const fs::path to = launcher_.config_.run / name;
  if (::rename(directory().c_str(), to.c_str()) != 0)
    return base::errno_error("rename " + directory().string());
  name_ = name;
  return {};
}

Result<base::UniqueFd> MonitorProcess::connect() const {
  return connect_in(directory(), kMonitorSocket);
}

void MonitorProcess::kill() {
  ::syscall(SYS_pidfd_send_signal, pidfd_.native_handle(), SIGKILL, nullptr, 0);
}

net::awaitable<std::string> MonitorProcess::wait() {
  co_await async::wait_until_ready(pidfd_, net::posix::stream_descriptor::wait_read);
  if (!child_) co_return std::string();
  siginfo_t info{};
  const auto id = static_cast<id_t>(pidfd_.native_handle());
  while (::waitid(P_PIDFD, id, &info, WEXITED) != 0)
    if (errno != EINTR)
      co_return "ended, but cannot be waited for: " + base::errno_error("waitid").message;
  co_return describe(info);
}

std::string MonitorProcess::last_words() const {
  const auto log = read_tail(directory() / "log");
  if (!log) return {};
  std::string_view text(reinterpret_cast<const char*>(log->data()), log->size());
  while (text.ends_with('\n')) text.remove_suffix(1);
  if (const auto line = text.rfind('\n'); line != text.npos) text.remove_prefix(line + 1);
  return base::printable(text);
}

std::optional<launch::Stopped> MonitorProcess::result() const {
  return launcher_.read_result(name_);
}

net::awaitable<Result<void>> MonitorProcess::set_weights(GroupWeights weights) {
  return launcher_.privileged_.set_weights(record_.slot, std::move(weights));
}

net::awaitable<Result<base::UniqueFd>> MonitorProcess::connect_host_socket(std::string path) {
  return launcher_.privileged_.connect_host_socket(std::move(path));
}

FileServer MonitorProcess::file_server() const {
  return FileServer({.privileged = launcher_.privileged_,
                     .executor = launcher_.executor_,
                     .pool = launcher_.pool_,
                     .program = launcher_.config_.file_server},
                    directory(), record_.slot);
}

net::awaitable<void> MonitorProcess::remove() { return launcher_.remove(name_, record_.slot); }

std::optional<launch::Stopped> MonitorLauncher::read_result(const std::string& name) const {
  const auto bytes = read_small_file(config_.run / name / "result");
  if (!bytes || bytes->empty()) return std::nullopt;
  const auto packet = base::open_packet(*bytes);
  if (!packet || packet->type != static_cast<std::uint16_t>(launch::MessageType::kStopped))
    return std::nullopt;
  auto stopped = wire::decode<launch::Stopped>(packet->payload);
  if (!stopped) return std::nullopt;
  return std::move(*stopped);
}

Result<MonitorProcess::Record> MonitorLauncher::read_record(const std::string& name) const {
  const auto bytes = read_small_file(config_.run / name / "record");
  if (!bytes) return bytes.error();
  auto record = wire::decode<MonitorProcess::Record>(*bytes);
  if (record && record->version != MonitorProcess::Record::kVersion)
    return Error{Code::kNotSupported, "another version of the daemon wrote the record of " + name};
  return record;
}

net::awaitable<Result<std::unique_ptr<MonitorProcess>>> MonitorLauncher::launch(
    std::string name, launch::Shape shape) {
  std::function<Result<Files>()> make = [this, name] { return make_directory(name); };
  const auto files = co_await pool_.run(std::move(make));
  if (!files) co_return base::annotate(Error(files.error()), "start the monitor");
  const MonitorSpec spec{
      .program = config_.program,
      .limits = {.memory_bytes = shape.memory_bytes + 256_MiB, .tasks = shape.vcpus + 64},
      .control_socket = files->control.get(),
      .result_file = files->result.get(),
      .log_file = files->log.get()};
  auto spawned = co_await privileged_.spawn_monitor(spec);
  if (!spawned) {
    co_await remove(name, std::nullopt);
    co_return base::annotate(std::move(spawned).error(), "start the monitor");
  }

  const auto record = std::make_shared<MonitorProcess::Record>();
  record->pid = spawned->process.pid;
  record->slot = spawned->slot;
  record->vcpus = shape.vcpus;
  record->memory_bytes = shape.memory_bytes;
  std::function<Result<void>()> write = [this, name, record] {
    return write_record(name, *record);
  };
  auto written = co_await pool_.run(std::move(write));
  auto process = std::make_unique<MonitorProcess>(*this, executor_, name, *record,
                                                  std::move(spawned->process.pidfd), true);
  if (written) co_return process;
  process->kill();
  co_await process->wait();
  co_await process->remove();
  co_return base::annotate(std::move(written).error(), "start the monitor");
}

Result<MonitorLauncher::Files> MonitorLauncher::make_directory(const std::string& name) const {
  const fs::path directory = config_.run / name;
  if (::mkdir(directory.c_str(), 0700) != 0)
    return base::errno_error("make directory " + directory.string());
  auto control = listen_in(directory, kMonitorSocket);
  auto result = create_file(directory / "result", O_RDWR);
  auto log = create_file(directory / "log", O_WRONLY | O_APPEND);
  if (control && result && log)
    return Files{*std::move(control), *std::move(result), *std::move(log)};
  remove_directory(name);
  if (!control) return std::move(control).error();
  return result ? std::move(log).error() : std::move(result).error();
}

Result<void> MonitorLauncher::write_record(const std::string& name,
                                           MonitorProcess::Record& record) const {
  record.start_time = start_time_of(record.pid);
  return write_small_file(config_.run / name / "record", wire::encode(record));
}

bool MonitorLauncher::remove_directory(const std::string& name) const {
  std::error_code ignored;
  return fs::remove_all(config_.run / name, ignored) > 0;
}

net::awaitable<void> MonitorLauncher::remove(std::string name, std::optional<MonitorSlot> slot) {
  std::function<bool()> work = [this, name = std::move(name)] { return remove_directory(name); };
  co_await pool_.run(std::move(work));
  if (slot) co_await privileged_.release_monitor(*slot);
}

Result<std::unique_ptr<MonitorProcess>> MonitorLauncher::reopen(const std::string& name) {
  if (!fs::is_directory(config_.run / name)) return Error{Code::kNotFound, "no machine " + name};
  auto record = read_record(name);
  if (!record) return base::annotate(std::move(record).error(), "machine " + name);
  base::UniqueFd pidfd = find_process(*record);
  if (!pidfd) return Error{Code::kUnavailable, "the machine's monitor has ended"};
  return std::make_unique<MonitorProcess>(*this, executor_, name, std::move(*record),
                                          std::move(pidfd), false);
}

net::awaitable<void> MonitorLauncher::reserve(std::string name) {
  if (const auto record = read_record(name)) co_await privileged_.keep_monitor(record->slot);
}

std::vector<std::string> MonitorLauncher::found() const {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(config_.run, ignored))
    names.push_back(entry.path().filename());
  return names;
}

net::awaitable<void> MonitorLauncher::remove_left_over(std::string name) {
  std::function<std::optional<MonitorSlot>()> work = [this, name] { return end_left_over(name); };
  const std::optional<MonitorSlot> slot = co_await pool_.run(std::move(work));
  co_await remove(std::move(name), slot);
}

/// Ends the monitor that an earlier daemon started under `name`; returns its slot, if that is
/// known.
std::optional<MonitorSlot> MonitorLauncher::end_left_over(const std::string& name) const {
  const auto record = read_record(name);
  if (record) {
    if (const base::UniqueFd pidfd = find_process(*record)) {
      ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
      pollfd gone{pidfd.get(), POLLIN, 0};
      ::poll(&gone, 1, kStrayPatienceMs);
    }
    return record->slot;
  }
  if (const auto socket = connect_in(config_.run / name, kMonitorSocket)) {
    // Its daemon died between starting the monitor and recording it: ask it to end.
    [[maybe_unused]] const auto sent =
        base::send_packet(socket->get(), base::packet_of(launch::Stop{}));
    pollfd gone{socket->get(), POLLRDHUP, 0};
    ::poll(&gone, 1, kStrayPatienceMs);
  }
  return std::nullopt;
}

}  // namespace engine
