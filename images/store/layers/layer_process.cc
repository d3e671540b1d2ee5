#include "images/store/layers/layer_process.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <optional>
#include <utility>
#include <vector>

#include "images/store/layers/layer_answer.h"
#include "images/store/layers/layer_group.h"
#include "vmm/base/spawn.h"
#include "vmm/base/unique_fd.h"

namespace images {

namespace {

constexpr std::size_t kFeedBytes = 128u << 10;

// When the host is out of memory, the converter dies before a container: a layer can be sent again.
constexpr int kOomScore = 500;

/// The converter's descriptors 0, 3 and 4. It answers on 1 and shares 2 with this process.
struct Inputs {
  int input = -1;
  int image = -1;
  int recipe = -1;
};

base::Result<pid_t> spawn(const std::string& program, std::vector<std::string> arguments,
                          const Inputs& inputs, int answers, const LayerGroup& group) {
  arguments.insert(arguments.begin(), program);
  static_assert(kLayerInputFd == 0 && kLayerImageFd == 3 && kLayerRecipeFd == 4);
  const base::SpawnPlan plan{
      .argv = std::move(arguments),
      .descriptors = {inputs.input, answers, STDERR_FILENO, inputs.image, inputs.recipe},
      .own_pid_namespace = ::geteuid() == 0,
      .group = group.directory(),
      .oom_score_adj = kOomScore};
  const auto spawned = base::spawn(plan);
  if (!spawned) return spawned.error();
  return spawned->pid;
}

base::Result<void> listen(int fd, LayerAnswer& answer) {
  std::array<std::byte, 4096> buffer;
  while (true) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return base::errno_error("read from the layer converter");
    if (got == 0) return {};
    auto done = answer.feed(std::span(buffer).first(static_cast<std::size_t>(got)));
    if (!done || *done) return done ? base::Result<void>() : std::move(done).error();
  }
}

base::Error died(int status) {
  return {base::Code::kInternal,
          WIFSIGNALED(status)
              ? "the layer converter was killed by signal " + std::to_string(WTERMSIG(status))
              : "the layer converter ended without an answer"};
}

/// The converter as a running process. Ended and reaped by finish(), or by the destructor.
class Child {
 public:
  static base::Result<Child> start(const std::string& program, const std::string& groups,
                                   std::vector<std::string> arguments, const Inputs& inputs) {
    auto group = LayerGroup::make(groups);
    if (!group) return std::move(group).error();
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0) return base::errno_error("pipe");
    base::UniqueFd read_end(ends[0]);
    const base::UniqueFd write_end(ends[1]);
    auto pid = spawn(program, std::move(arguments), inputs, write_end.get(), *group);
    if (!pid) return std::move(pid).error();
    return Child(*std::move(group), *pid, std::move(read_end));
  }
  Child(Child&& other) noexcept
      : group_(std::move(other.group_)),
        pid_(std::exchange(other.pid_, -1)),
        output_(std::move(other.output_)) {}
  Child& operator=(Child&&) = delete;
  ~Child() {
    kill();
    (void)reap();
  }

  /// Waits for the converter's answer and its end.
  base::Result<LayerConverted> finish(const ConvertProgress& progress, std::stop_token stop) {
    LayerAnswer said(progress);
    base::Result<void> heard;
    {
      // It is reaped only after this has gone, so that the number is still its own.
      const std::stop_callback stopping(stop, [this] { kill(); });
      heard = listen(output_.get(), said);
    }
    if (stop.stop_requested())
      return base::Error{base::Code::kUnavailable, "the layer is not wanted any more"};
    if (!heard) kill();  // what it says is no answer, so it may never end by itself
    const int status = reap();
    if (!heard) return heard.error();
    auto answer = said.take();
    return answer ? *std::move(answer) : died(status);
  }

  void kill() const {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
  }

 private:
  Child(LayerGroup group, pid_t pid, base::UniqueFd output)
      : group_(std::move(group)), pid_(pid), output_(std::move(output)) {}

  int reap() {
    int status = 0;
    if (pid_ > 0)
      while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
      }
    pid_ = -1;
    return status;
  }

  LayerGroup group_;  // outlives the process
  pid_t pid_;
  base::UniqueFd output_;
};

base::Result<LayerConverted> run(const std::string& program, const std::string& groups,
                                 std::vector<std::string> arguments, const Inputs& inputs,
                                 const ConvertProgress& progress, std::stop_token stop) {
  auto child = Child::start(program, groups, std::move(arguments), inputs);
  if (!child) return std::move(child).error();
  return child->finish(progress, std::move(stop));
}

/// Gives `blob` to the other end of `socket`, to its end. False if nobody takes it any more.
base::Result<bool> feed(ByteSource& blob, std::uint64_t max_bytes, int socket) {
  std::vector<std::byte> buffer(kFeedBytes);
  while (true) {
    auto got = blob.read(buffer);
    if (!got) return std::move(got).error();
    if (*got == 0) return true;
    if (*got > max_bytes)
      return base::Error{base::Code::kResourceExhausted, "the layer is larger than the limit"};
    max_bytes -= *got;
    for (std::span<const std::byte> left(buffer.data(), *got); !left.empty();) {
      const ssize_t sent = ::send(socket, left.data(), left.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0 && (errno == EPIPE || errno == ECONNRESET)) return false;
      if (sent < 0) return base::errno_error("send to the layer converter");
      left = left.subspan(static_cast<std::size_t>(sent));
    }
  }
}

base::Result<std::uint64_t> size_of(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) < 0) return base::errno_error("stat");
  return static_cast<std::uint64_t>(status.st_size);
}

base::Result<ConvertedLayer> checked(LayerConverted layer, int image) {
  const auto size = size_of(image);
  if (!size) return size.error();
  return check_converted(std::move(layer), *size);
}

std::vector<std::string> convert_arguments(const char* verb, std::uint64_t offset,
                                           std::uint64_t length, const LayerLimits& limits) {
  return {verb,
          std::to_string(offset),
          std::to_string(length),
          std::to_string(limits.tar_bytes),
          std::to_string(limits.image_bytes),
          std::to_string(limits.entries),
          std::to_string(limits.metadata_bytes)};
}

}  // namespace

base::Result<ConvertedLayer> LayerProcess::convert(FileRange blob, int image, int recipe,
                                                   const LayerLimits& limits,
                                                   const ConvertProgress& progress,
                                                   std::stop_token stop) const {
  auto layer =
      run(program_, groups_, convert_arguments("convert", blob.offset, blob.length, limits),
          {.input = blob.fd, .image = image, .recipe = recipe}, progress, std::move(stop));
  if (!layer) return std::move(layer).error();
  return checked(*std::move(layer), image);
}

base::Result<ConvertedLayer> LayerProcess::convert_stream(ByteSource& blob, std::uint64_t max_bytes,
                                                          int image, int recipe,
                                                          const LayerLimits& limits) const {
  // A socket, not a pipe: writing to one whose reader is gone raises no signal.
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) < 0)
    return base::errno_error("socketpair");
  base::UniqueFd ours(ends[0]);
  base::UniqueFd theirs(ends[1]);
  auto child =
      Child::start(program_, groups_, convert_arguments("convert-stream", 0, max_bytes, limits),
                   {.input = theirs.get(), .image = image, .recipe = recipe});
  if (!child) return std::move(child).error();
  theirs.reset();
  auto fed = feed(blob, max_bytes, ours.get());
  // What came was not all: the child must not take the end of the stream for the blob's.
  if (!fed) return std::move(fed).error();
  ::shutdown(ours.get(), SHUT_WR);
  auto layer = child->finish({}, blob.stop_token());
  if (!layer) return std::move(layer).error();
  if (!*fed)
    return base::Error{base::Code::kInternal, "the layer converter did not read the whole layer"};
  return checked(*std::move(layer), image);
}

base::Result<std::uint64_t> LayerProcess::decompress(FileRange blob, int out,
                                                     std::uint64_t max_bytes,
                                                     std::stop_token stop) const {
  auto done = run(program_, groups_,
                  {"decompress", std::to_string(blob.offset), std::to_string(blob.length),
                   std::to_string(max_bytes)},
                  {.input = blob.fd, .image = out}, {}, std::move(stop));
  if (!done) return std::move(done).error();
  return size_of(out);
}

}  // namespace images
