#include "vmm/fileserver/session/fuse_session.h"

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <utility>

#include "vmm/fileserver/session/fuse_operations.h"
#include "vmm/fileserver/session/request_check.h"

/// libfuse's table of operations names this one, and its own would bring half of the library along,
/// with programs that mount. Nothing calls it: check_request() refuses CUSE_INIT.
extern "C" void cuse_lowlevel_init(fuse_req_t request, fuse_ino_t /*node*/, const void* /*in*/) {
  ::fuse_reply_err(request, ENOSYS);
}

namespace fileserver {
namespace {

/// libfuse has something to say about what a guest sent, or its own bugs. One line tells it.
void log_once(fuse_log_level /*level*/, const char* format, va_list arguments) {
  static std::atomic<bool> said = false;
  if (said.exchange(true)) return;
  std::fputs("containervm-fileserver: libfuse: ", stderr);
  std::vfprintf(stderr, format, arguments);
}

fuse_in_header header_of(std::span<const std::byte> request) {
  fuse_in_header header{};
  std::memcpy(&header, request.data(), sizeof header);
  return header;
}

}  // namespace

/// What libfuse knows between an INIT and the next one. Answers that are late keep it.
struct FuseSession::Live : OperationContext, std::enable_shared_from_this<Live> {
  Live(FileSystem& file_system, const Send& out) : OperationContext(file_system), send(out) {}
  ~Live() override {
    if (session != nullptr) ::fuse_session_destroy(session);
  }

  bool open();
  void process(std::span<std::byte> request) {
    const fuse_buf buffer{
        .size = request.size(), .flags = {}, .mem = request.data(), .fd = -1, .pos = 0};
    ::fuse_session_process_buf(session, &buffer);
  }
  std::shared_ptr<void> keep() override { return shared_from_this(); }
  static ssize_t write(int fd, iovec* parts, int count, void* context);
  static ssize_t read(int fd, void* buffer, std::size_t size, void* context);

  const Send& send;
  fuse_session* session = nullptr;
};

ssize_t FuseSession::Live::write(int /*fd*/, iovec* parts, int count, void* context) {
  const auto* const live = static_cast<const Live*>(static_cast<OperationContext*>(context));
  ssize_t length = 0;
  for (const iovec& part : std::span(parts, static_cast<std::size_t>(count)))
    length += static_cast<ssize_t>(part.iov_len);
  if (live->send({parts, static_cast<std::size_t>(count)})) return length;
  errno = ENOENT;  // libfuse has nothing to say about that
  return -1;
}

/// Requests are read by Channel, which libfuse cannot know.
ssize_t FuseSession::Live::read(int /*fd*/, void* /*buffer*/, std::size_t /*size*/,
                                void* /*context*/) {
  errno = EIO;
  return -1;
}

bool FuseSession::Live::open() {
  char name[] = "containervm-fileserver";
  char* arguments[] = {name, nullptr};
  fuse_args options = FUSE_ARGS_INIT(1, arguments);
  const fuse_lowlevel_ops operations = fuse_operations();
  session = ::fuse_session_new(&options, &operations, sizeof operations,
                               static_cast<OperationContext*>(this));
  ::fuse_opt_free_args(&options);
  if (session == nullptr) return false;
  // libfuse wants a descriptor, which it hands to write() and closes; there is none to use.
  const int descriptor = ::fcntl(files.descriptors(), F_DUPFD_CLOEXEC, 0);
  const fuse_custom_io io{.writev = write, .read = read, .splice_receive = {}, .splice_send = {}};
  return ::fuse_session_custom_io(session, &io, descriptor) == 0;
}

FuseSession::FuseSession(FileSystem& files, Send send) : files_(files), send_(std::move(send)) {
  ::fuse_set_log_func(log_once);
}

FuseSession::~FuseSession() = default;

std::shared_ptr<FuseSession::Live> FuseSession::live() const {
  const std::lock_guard lock(mutex_);
  return live_;
}

void FuseSession::answer(std::span<const std::byte> request, int error) {
  const fuse_in_header header = header_of(request);
  fuse_out_header out{sizeof out, -error, header.unique};
  iovec part{&out, sizeof out};
  send_({&part, 1});
}

void FuseSession::begin(std::span<std::byte> request) {
  auto fresh = std::make_shared<Live>(files_, send_);
  if (!fresh->open()) return answer(request, ENOMEM);
  files_.reset();
  {
    const std::lock_guard lock(mutex_);
    live_ = fresh;
  }
  fresh->process(request);
}

void FuseSession::end(std::span<const std::byte> request) {
  {
    const std::lock_guard lock(mutex_);
    live_.reset();
  }
  files_.reset();
  answer(request, 0);
}

void FuseSession::process(std::span<std::byte> request) {
  const Verdict verdict = check_request(request);
  switch (verdict.action) {
    case Verdict::Action::kIgnore:
      return;
    case Verdict::Action::kRefuse:
      return answer(request, verdict.error);
    case Verdict::Action::kInit:
      return begin(request);
    case Verdict::Action::kDestroy:
      return end(request);
    case Verdict::Action::kServe:
      break;
  }
  if (const auto current = live())
    current->process(request);
  else if (!is_unanswered(header_of(request).opcode))
    answer(request, EIO);
}

}  // namespace fileserver
