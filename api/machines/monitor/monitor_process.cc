#include "api/machines/monitor/monitor_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <sstream>

#include "api/async/readiness.h"
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
constexpr int kListenBacklog = 8;
constexpr int kStrayPatienceMs = 3000;

/// All of a small file; any bytes.
Result<wire::Bytes> read_small_file(const fs::path& path) {
  const base::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return base::errno_error("open " + path.string());
  wire::Bytes bytes(kMaxSmallFile);
  const ssize_t size = ::read(file.get(), bytes.data(), bytes.size());
  if (size < 0) return base::errno_error("read " + path.string());
  bytes.resize(static_cast<std::size_t>(size));
  return bytes;
}

/// The end of a file that may be long; any bytes.
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

/// The address of `directory`/control.sock, through /proc so that its length does not matter.
/// `hold` keeps it valid.
Result<sockaddr_un> control_address(const fs::path& directory, base::UniqueFd& hold) {
  hold.reset(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!hold) return base::errno_error("open " + directory.string());
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = "/proc/self/fd/" + std::to_string(hold.get()) + "/control.sock";
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

Result<base::UniqueFd> listen_in(const fs::path& directory) {
  base::UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket) return base::errno_error("socket");
  base::UniqueFd hold;
  const auto address = control_address(directory, hold);
  if (!address) return address.error();
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0 ||
      ::listen(socket.get(), kListenBacklog) != 0)
    return base::errno_error("listen in " + directory.string());
  return socket;
}

Result<base::UniqueFd> connect_in(const fs::path& directory) {
  base::UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return base::errno_error("socket");
  base::UniqueFd hold;
  const auto address = control_address(directory, hold);
  if (!address) return address.error();
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0)
    return base::errno_error("connect to the monitor in " + directory.string());
  return socket;
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
      child_(child),
      uid_slots_(launcher.uid_slots_) {}

MonitorProcess::~MonitorProcess() { uid_slots_->erase(record_.uid_slot); }

fs::path MonitorProcess::directory() const { return launcher_.config_.run / name_; }

Result<void> MonitorProcess::rename(const std::string& name) {
  const fs::path to = launcher_.config_.run / name;
  if (::rename(directory().c_str(), to.c_str()) != 0)
    return base::errno_error("rename " + directory().string());
  name_ = name;
  return {};
}

Result<base::UniqueFd> MonitorProcess::connect() const { return connect_in(directory()); }

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

void MonitorProcess::remove(MonitorLauncher& launcher, const std::string& name,
                            const std::string& group) {
  std::error_code ignored;
  fs::remove_all(launcher.config_.run / name, ignored);
  launcher.privileged_.remove_group(group);
}

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
    return Error{Code::kNotSupported, "the record of machine " + name + " has another version"};
  return record;
}

net::awaitable<Result<std::unique_ptr<MonitorProcess>>> MonitorLauncher::launch(
    std::string name, launch::Shape shape) {
  std::uint32_t slot = 0;
  while (uid_slots_->contains(slot)) ++slot;
  if (slot >= kUids) co_return Error{Code::kResourceExhausted, "too many machines"};
  uid_slots_->insert(slot);

  auto record = std::make_shared<MonitorProcess::Record>();
  record->uid_slot = slot;
  record->group = config_.group_prefix + std::to_string(slot);
  record->vcpus = shape.vcpus;
  record->memory_bytes = shape.memory_bytes;
  std::function<Result<SpawnedMonitor>()> work = [this, name, record] {
    return spawn(name, *record);
  };
  auto spawned = co_await pool_.run(std::move(work));
  if (!spawned) {
    uid_slots_->erase(slot);
    co_return base::annotate(std::move(spawned).error(), "start the monitor");
  }
  co_return std::make_unique<MonitorProcess>(*this, executor_, name, *record,
                                             std::move(spawned->pidfd), true);
}

/// Blocks: on the pool's threads.
Result<SpawnedMonitor> MonitorLauncher::spawn(const std::string& name,
                                              MonitorProcess::Record& record) {
  const fs::path directory = config_.run / name;
  if (::mkdir(directory.c_str(), 0700) != 0)
    return base::errno_error("make directory " + directory.string());
  const auto abandon = [&](Error error) {
    std::error_code ignored;
    fs::remove_all(directory, ignored);
    return error;
  };
  const auto control = listen_in(directory);
  const auto result = create_file(directory / "result", O_RDWR);
  const auto log = create_file(directory / "log", O_WRONLY | O_APPEND);
  const auto kvm = privileged_.open_kvm();
  if (!control) return abandon(control.error());
  if (!result) return abandon(result.error());
  if (!log) return abandon(log.error());
  if (!kvm) return abandon(kvm.error());

  auto spawned = privileged_.spawn_monitor(
      {.program = config_.program,
       .group = record.group,
       .limits = {.memory_bytes = record.memory_bytes + 256_MiB, .tasks = record.vcpus + 64},
       .uid = config_.first_uid + record.uid_slot,
       .control_socket = control->get(),
       .kvm = kvm->get(),
       .result_file = result->get(),
       .log_file = log->get()});
  if (!spawned) return abandon(spawned.error());
  record.pid = spawned->pid;
  record.start_time = start_time_of(spawned->pid);
  if (auto written = write_small_file(directory / "record", wire::encode(record)); !written) {
    ::syscall(SYS_pidfd_send_signal, spawned->pidfd.get(), SIGKILL, nullptr, 0);
    ::waitid(P_PIDFD, static_cast<id_t>(spawned->pidfd.get()), nullptr, WEXITED);
    privileged_.remove_group(record.group);
    return abandon(written.error());
  }
  return spawned;
}

Result<std::unique_ptr<MonitorProcess>> MonitorLauncher::reopen(const std::string& name) {
  if (!fs::is_directory(config_.run / name)) return Error{Code::kNotFound, "no machine " + name};
  auto record = read_record(name);
  if (!record) return base::annotate(std::move(record).error(), "machine " + name);
  base::UniqueFd pidfd = find_process(*record);
  if (!pidfd) return Error{Code::kUnavailable, "the machine's monitor has ended"};
  uid_slots_->insert(record->uid_slot);
  return std::make_unique<MonitorProcess>(*this, executor_, name, std::move(*record),
                                          std::move(pidfd), false);
}

void MonitorLauncher::reserve(const std::string& name) {
  if (const auto record = read_record(name)) uid_slots_->insert(record->uid_slot);
}

std::vector<std::string> MonitorLauncher::found() const {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(config_.run, ignored))
    names.push_back(entry.path().filename());
  return names;
}

void MonitorLauncher::remove_left_over(const std::string& name) {
  const auto record = read_record(name);
  if (record) {
    if (const base::UniqueFd pidfd = find_process(*record)) {
      ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
      pollfd gone{pidfd.get(), POLLIN, 0};
      ::poll(&gone, 1, kStrayPatienceMs);
    }
  } else if (const auto socket = connect_in(config_.run / name)) {
    // Its daemon died between starting the monitor and recording it: ask it to end.
    [[maybe_unused]] const auto sent =
        base::send_packet(socket->get(), base::packet_of(launch::Stop{}));
    pollfd gone{socket->get(), POLLRDHUP, 0};
    ::poll(&gone, 1, kStrayPatienceMs);
  }
  MonitorProcess::remove(*this, name, record ? record->group : std::string());
}

}  // namespace engine
