#include "api/machines/templates/template_builder.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>

#include "vmm/base/printable.h"
#include "vmm/base/seqpacket.h"

namespace engine {

namespace {

using base::Code;
using base::Error;
using base::Result;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kRetryPause{20};
constexpr milliseconds kSaveTimeout{120'000};
constexpr milliseconds kStopTimeout{3'000};

Result<base::UniqueFd> open_input(const std::filesystem::path& path) {
  base::UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return base::errno_error("open " + path.string());
  return file;
}

Result<base::UniqueFd> duplicate(const base::UniqueFd& fd) {
  base::UniqueFd copy(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
  if (!copy) return base::errno_error("duplicate a descriptor");
  return copy;
}

milliseconds until(Clock::time_point deadline) {
  return std::max(std::chrono::duration_cast<milliseconds>(deadline - Clock::now()),
                  milliseconds(0));
}

}  // namespace

TemplateBuilder::TemplateBuilder(net::any_io_executor executor, MonitorLauncher& launcher,
                                 const TemplatesConfig& config)
    : executor_(executor), launcher_(launcher), config_(config), gone_(executor) {}

net::awaitable<Result<launch::Saved>> TemplateBuilder::build(std::shared_ptr<TemplateBuilder> self,
                                                             std::string name, launch::Shape shape,
                                                             const TemplateDraft& draft) {
  auto process = co_await self->launcher_.launch(name, shape);
  if (!process) co_return std::move(process).error();
  self->process_ = std::move(*process);
  Result<void> done = self->connect();
  if (done) done = co_await self->boot(shape);
  if (done) done = co_await self->greet(Clock::now() + self->config_.boot_timeout);
  if (done) done = co_await self->open_streams();
  Result<launch::Saved> saved = launch::Saved{};
  if (done) {
    saved = co_await self->save(draft);
  } else {
    saved = std::move(done).error();
  }
  const std::string console = co_await self->finish();
  if (saved || console.empty()) co_return saved;
  co_return Error{saved.error().code, saved.error().message + "; the guest's console said: " +
                                          base::printable(console)};
}

Result<void> TemplateBuilder::connect() {
  auto socket = process_->connect();
  if (!socket) return std::move(socket).error();
  const auto weak = weak_from_this();
  monitor_ = MonitorClient::start(executor_, std::move(*socket),
                                  {.stopped =
                                       [weak](launch::Stopped stopped) {
                                         const auto self = weak.lock();
                                         if (!self) return;
                                         self->stopped_ = std::move(stopped);
                                         self->gone_.set();
                                       },
                                   .lost =
                                       [weak](Error) {
                                         if (const auto self = weak.lock()) self->gone_.set();
                                       }});
  return {};
}

net::awaitable<Result<void>> TemplateBuilder::answered(async::Reply<MonitorClient::Answer> reply) {
  const auto answer = co_await reply.wait_for(kSaveTimeout);
  if (!answer) co_return Error{Code::kDeadlineExceeded, "the monitor does not answer"};
  if (!*answer) co_return answer->error();
  co_return Result<void>();
}

net::awaitable<Result<void>> TemplateBuilder::boot(launch::Shape shape) {
  auto kernel = open_input(config_.kernel);
  auto initramfs = open_input(config_.initramfs);
  if (!kernel) co_return std::move(kernel).error();
  if (!initramfs) co_return std::move(initramfs).error();
  std::vector<base::UniqueFd> files;
  files.push_back(std::move(*kernel));
  files.push_back(std::move(*initramfs));
  launch::BootMachine message;
  message.shape = shape;
  const auto booted = monitor_->send(message, std::move(files));
  const auto running = monitor_->send(launch::Run{});
  RETURN_IF_ERROR_ASYNC(co_await answered(booted));
  co_return co_await answered(running);
}

/// Greets the guest until guest-init answers: before it listens, the guest refuses the connection,
/// or nobody answers.
net::awaitable<Result<void>> TemplateBuilder::greet(Deadline deadline) {
  while (!gone_.is_set() && Clock::now() < deadline) {
    const auto greeted = co_await try_greeting(until(deadline));
    if (greeted || greeted.error().code != Code::kUnavailable) co_return greeted;
    co_await gone_.wait_for(kRetryPause);
  }
  if (stopped_) co_return Error{Code::kUnavailable, stopped_->message};
  if (gone_.is_set())
    co_return Error{Code::kUnavailable, "the monitor ended while the guest booted"};
  co_return Error{Code::kDeadlineExceeded, "the guest did not become ready in time"};
}

net::awaitable<Result<void>> TemplateBuilder::try_greeting(milliseconds patience) {
  auto pair = base::make_socket_pair(SOCK_STREAM);
  if (!pair) co_return std::move(pair).error();
  std::vector<base::UniqueFd> files;
  files.push_back(std::move(pair->second));
  launch::OpenStream open;
  open.guest_port = protocol::kControlPort;
  open.tag = kControlTag;
  const auto opened = monitor_->send(open, std::move(files));
  StreamSocket socket(executor_, net::local::stream_protocol(), pair->first.release());
  session_ = GuestSession::start(executor_, std::move(socket), {});
  const auto pending = session_->hello();
  session_->flush();
  const auto reply = co_await pending.wait_for(patience);
  if (!reply) co_return Error{Code::kDeadlineExceeded, "the guest did not become ready in time"};
  if (!*reply) co_return reply->error();
  spdlog::debug("template guest is ready: kernel {}", (*reply)->kernel_release);
  co_return Result<void>();
}

net::awaitable<Result<void>> TemplateBuilder::open_streams() {
  for (std::uint32_t i = 0; i < kTemplateStreams; ++i) {
    auto pair = base::make_socket_pair(SOCK_STREAM);
    if (!pair) co_return std::move(pair).error();
    std::vector<base::UniqueFd> files;
    files.push_back(std::move(pair->second));
    launch::OpenStream open;
    open.guest_port = protocol::kStreamPort;
    open.tag = kFirstStreamTag + i;
    const auto opened = monitor_->send(open, std::move(files));
    streams_.emplace_back(executor_, net::local::stream_protocol(), pair->first.release());
    RETURN_IF_ERROR_ASYNC(co_await answered(opened));
  }
  // A second greeting: guest-init answers it after it has accepted the streams opened before.
  const auto pending = session_->hello();
  session_->flush();
  const auto reply = co_await pending.wait_for(config_.boot_timeout);
  if (!reply) co_return Error{Code::kDeadlineExceeded, "the guest stopped answering"};
  if (!*reply) co_return reply->error();
  co_return Result<void>();
}

net::awaitable<Result<launch::Saved>> TemplateBuilder::save(const TemplateDraft& draft) {
  auto memory = duplicate(draft.memory());
  auto state = duplicate(draft.state());
  if (!memory) co_return std::move(memory).error();
  if (!state) co_return std::move(state).error();
  std::vector<base::UniqueFd> files;
  files.push_back(std::move(*memory));
  files.push_back(std::move(*state));
  const auto pending = monitor_->send(launch::SaveTemplate{}, std::move(files));
  const auto answer = co_await pending.wait_for(kSaveTimeout);
  if (!answer) co_return Error{Code::kDeadlineExceeded, "saving the template took too long"};
  if (!*answer) co_return answer->error();
  const auto& tags = (*answer)->streams;
  for (std::uint32_t tag = kControlTag; tag < kFirstStreamTag + kTemplateStreams; ++tag)
    if (std::find(tags.begin(), tags.end(), tag) == tags.end())
      co_return Error{Code::kInternal, "stream " + std::to_string(tag) + " was not saved"};
  co_return *answer;
}

/// Ends the machine and removes what belongs to it; returns the last lines of its console.
net::awaitable<std::string> TemplateBuilder::finish() {
  if (monitor_ && !gone_.is_set()) {
    monitor_->send(launch::Stop{});
    co_await gone_.wait_for(kStopTimeout);
  }
  process_->kill();
  co_await process_->wait();
  if (!stopped_) stopped_ = process_->result();
  if (session_) session_->close();
  if (monitor_) monitor_->close();
  co_await process_->remove();
  co_return stopped_ ? stopped_->console_tail : std::string();
}

}  // namespace engine
