#include "images/store/layer_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <optional>
#include <vector>

#include "images/store/erofs_format.h"
#include "images/store/layer_messages.h"
#include "images/store/reference.h"
#include "vmm/base/scope_exit.h"
#include "vmm/base/unique_fd.h"

namespace images {

namespace {

/// Above every number the child gives a meaning, so that placing one cannot overwrite another.
base::Result<base::UniqueFd> lift(int fd) {
  base::UniqueFd lifted(::fcntl(fd, F_DUPFD_CLOEXEC, 16));
  if (!lifted) return base::errno_error("duplicate descriptor");
  return lifted;
}

struct Placement {
  int fd = -1;
  int target = -1;
};

base::Result<pid_t> spawn(const std::string& program, std::vector<std::string> arguments,
                          const std::vector<Placement>& placements) {
  arguments.insert(arguments.begin(), "containervm-layer");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::array<char*, 1> environment{nullptr};

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  base::ScopeExit destroy([&] { posix_spawn_file_actions_destroy(&actions); });
  std::vector<base::UniqueFd> lifted;
  for (const Placement& placement : placements) {
    auto fd = lift(placement.fd);
    if (!fd) return std::move(fd).error();
    posix_spawn_file_actions_adddup2(&actions, fd->get(), placement.target);
    lifted.push_back(*std::move(fd));
  }
  pid_t pid = -1;
  const int error =
      ::posix_spawn(&pid, program.c_str(), &actions, nullptr, argv.data(), environment.data());
  if (error != 0) return base::errno_error("start " + program, error);
  return pid;
}

/// What the child said, until it said its last word.
class Conversation {
 public:
  explicit Conversation(const ConvertProgress& progress) : progress_(progress) {}

  /// True when the last word was said.
  base::Result<bool> feed(std::span<const std::byte> bytes) {
    reader_.feed(bytes);
    while (true) {
      auto frame = reader_.next();
      if (!frame) return std::move(frame).error();
      if (!*frame) return false;
      RETURN_IF_ERROR(take(**frame));
      if (answer_) return true;
    }
  }

  std::optional<base::Result<LayerConverted>> take_answer() { return std::move(answer_); }

 private:
  base::Result<void> take(const wire::RawFrame& frame) {
    switch (static_cast<LayerMessage>(frame.type)) {
      case LayerMessage::kProgress: {
        auto message = wire::decode<LayerProgress>(frame.payload);
        if (!message) return std::move(message).error();
        if (progress_) progress_(message->input_bytes);
        return {};
      }
      case LayerMessage::kConverted: {
        auto message = wire::decode<LayerConverted>(frame.payload);
        if (!message) return std::move(message).error();
        answer_ = *std::move(message);
        return {};
      }
      case LayerMessage::kFailed: {
        auto message = wire::decode<LayerFailed>(frame.payload);
        if (!message) return std::move(message).error();
        const bool known = message->code <= base::Code::kInternal;
        answer_ = base::Error{known ? message->code : base::Code::kInternal, message->message};
        return {};
      }
    }
    return base::Error{base::Code::kDataLoss, "unknown message"};
  }

  const ConvertProgress& progress_;
  wire::FrameReader reader_;
  std::optional<base::Result<LayerConverted>> answer_;
};

base::Result<void> listen(int fd, Conversation& conversation) {
  std::array<std::byte, 4096> buffer;
  while (true) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return base::errno_error("read from the layer converter");
    if (got == 0) return {};
    auto done = conversation.feed(std::span(buffer).first(static_cast<std::size_t>(got)));
    if (!done || *done) return done ? base::Result<void>() : std::move(done).error();
  }
}

base::Error died(int status) {
  return {base::Code::kInternal,
          WIFSIGNALED(status)
              ? "the layer converter was killed by signal " + std::to_string(WTERMSIG(status))
              : "the layer converter ended without an answer"};
}

base::Result<LayerConverted> run(const std::string& program, std::vector<std::string> arguments,
                                 std::vector<Placement> placements,
                                 const ConvertProgress& progress) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) < 0) return base::errno_error("pipe");
  base::UniqueFd read_end(ends[0]);
  base::UniqueFd write_end(ends[1]);
  placements.push_back({write_end.get(), STDOUT_FILENO});
  auto pid = spawn(program, std::move(arguments), placements);
  if (!pid) return std::move(pid).error();
  write_end.reset();

  Conversation conversation(progress);
  const auto heard = listen(read_end.get(), conversation);
  if (!heard) ::kill(*pid, SIGKILL);  // it speaks gibberish: it may not come to an end
  int status = 0;
  while (::waitpid(*pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!heard) return heard.error();
  auto answer = conversation.take_answer();
  return answer ? *std::move(answer) : died(status);
}

base::Result<std::uint64_t> size_of(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) < 0) return base::errno_error("stat");
  return static_cast<std::uint64_t>(status.st_size);
}

base::Result<void> check(const LayerConverted& layer, int image) {
  auto size = size_of(image);
  if (!size) return std::move(size).error();
  const bool plausible = is_sha256_digest(layer.blob_digest) && is_sha256_digest(layer.diff_id) &&
                         layer.image_bytes == *size && *size % erofs::kBlockSize == 0 && *size > 0;
  if (!plausible)
    return base::Error{base::Code::kInternal, "the layer converter's answer is wrong"};
  return {};
}

}  // namespace

base::Result<ConvertedLayer> LayerProcess::convert(FileRange blob, int image, int recipe,
                                                   const LayerLimits& limits,
                                                   const ConvertProgress& progress) const {
  auto layer =
      run(program_,
          {"convert", std::to_string(blob.offset), std::to_string(blob.length),
           std::to_string(limits.tar_bytes), std::to_string(limits.image_bytes),
           std::to_string(limits.entries), std::to_string(limits.metadata_bytes)},
          {{blob.fd, kLayerInputFd}, {image, kLayerImageFd}, {recipe, kLayerRecipeFd}}, progress);
  if (!layer) return std::move(layer).error();
  RETURN_IF_ERROR(check(*layer, image));
  return ConvertedLayer{.blob_digest = layer->blob_digest,
                        .diff_id = layer->diff_id,
                        .tar_bytes = layer->tar_bytes,
                        .image_bytes = layer->image_bytes,
                        .content_bytes = layer->content_bytes};
}

base::Result<std::uint64_t> LayerProcess::decompress(FileRange blob, int out,
                                                     std::uint64_t max_bytes) const {
  auto done = run(program_,
                  {"decompress", std::to_string(blob.offset), std::to_string(blob.length),
                   std::to_string(max_bytes)},
                  {{blob.fd, kLayerInputFd}, {out, kLayerImageFd}}, {});
  if (!done) return std::move(done).error();
  return size_of(out);
}

}  // namespace images
