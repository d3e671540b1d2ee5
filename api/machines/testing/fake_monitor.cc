// fake_monitor: a program that speaks containervm-vmm's control protocol and guest-init's protocol,
// without any virtual machine: what the tests start in place of the real monitor.
//
// A "process" in it is chosen by argv[0]:
//   true            exits with 0                    exit N       exits with N
//   echo TEXT       writes TEXT to stdout, exits    complain TEXT  the same to stderr
//   flood N         writes N bytes to stdout, never more than kReplayBytes ahead of the
//                   acknowledgements, then exits
//   cat             copies stdin to stdout until its end, exits
//   sleep           runs until a signal ends it
//   volumes         writes the first 8 bytes of each volume that it was prepared with
//   network         writes the card of each tap, and the card and address of each interface
//   connect N       connects to the host's socket N, says "hello", and writes what it hears to
//   stdout, or
//                   "refused"
//   deaf            runs, and signals to it are not answered
//   missing         is refused: no such executable
//   die [WORDS]     the whole monitor exits, WORDS are the last line on its standard error
//   panic           the guest panics
//   garbage         bytes that are no frame                     unasked an answer to nothing
//   silence         is never answered
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "guest-init/protocol/messages.h"
#include "vmm/base/seqpacket.h"
#include "vmm/launch/messages.h"

namespace {

constexpr int kControlFd = 3;
constexpr std::uint32_t kCards = launch::kMostNetworkCards;
constexpr int kResultFd = 5;

/// "eth0 172.17.0.2", and the address of IPv6 if it has one.
std::string text_of(const protocol::NetworkInterface& interface) {
  return "eth" + std::to_string(interface.slot) + " " + interface.address +
         (interface.address6.empty() ? "" : " " + interface.address6) + "\n";
}

void send_all(int fd, const void* data, std::size_t size) {
  const auto* at = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t sent = ::send(fd, at, size, MSG_NOSIGNAL);
    if (sent <= 0) return;
    at += sent;
    size -= static_cast<std::size_t>(sent);
  }
}

template <typename M>
void send_frame(int fd, const M& message) {
  const wire::Bytes bytes = wire::frame(message);
  send_all(fd, bytes.data(), bytes.size());
}

struct FakeProcess {
  protocol::StartProcess start;
  std::string produced;  // all that goes to `out`
  protocol::Stream out = protocol::Stream::kStdout;
  std::uint64_t sent = 0;
  std::uint64_t acknowledged = 0;
  bool copies_stdin = false;
  bool runs = true;
  bool told = false;
  protocol::ExitStatus status;
  int stream = -1;  // of `out`

  std::uint64_t stdout_bytes() const {
    return out == protocol::Stream::kStdout ? produced.size() : 0;
  }
  std::uint64_t stderr_bytes() const {
    return out == protocol::Stream::kStderr ? produced.size() : 0;
  }
};

/// A stream connection; before its StreamOpen it belongs to nobody.
struct FakeStream {
  base::UniqueFd fd;
  std::uint32_t process = 0;
  protocol::Stream stream = protocol::Stream::kStdin;
  bool named = false;
  bool of_socket =
      false;  // `process` is the connection's number, and that of the process that made it
  wire::FrameReader frames;
  std::string acknowledgements;
};

class FakeMonitor {
 public:
  [[noreturn]] void run() {
    for (;;) {
      poll_once();
      pump_output();
    }
  }

 private:
  void poll_once() {
    std::vector<pollfd> fds = {{kControlFd, POLLIN, 0},
                               {connection_.get(), POLLIN, 0},
                               {control_stream_.get(), POLLIN, 0}};
    if (!running_) fds[2].fd = -1;
    std::vector<FakeStream*> polled;
    if (running_)
      for (FakeStream& stream : streams_) {
        fds.push_back({stream.fd.get(), POLLIN, 0});
        polled.push_back(&stream);
      }
    ::poll(fds.data(), fds.size(), -1);
    if (fds[0].revents != 0) accept_connection();
    if (fds[1].revents != 0 && fds[0].revents == 0) read_packet();
    if (fds[2].revents != 0) read_control();
    for (std::size_t i = 0; i < polled.size(); ++i)
      if (fds[3 + i].revents != 0) read_stream(*polled[i]);
    std::erase_if(streams_, [](const FakeStream& stream) { return !stream.fd; });
  }

  // ---- the monitor ----

  void accept_connection() {
    connection_.reset(::accept4(kControlFd, nullptr, nullptr, SOCK_CLOEXEC));
    send(launch::Status{});
  }

  template <typename M>
  void send(const M& message) {
    [[maybe_unused]] const auto sent =
        base::send_packet(connection_.get(), base::packet_of(message));
  }

  void read_packet() {
    auto packet =
        base::receive_packet(connection_.get(), launch::kMaxPacket, launch::kMaxDescriptors);
    if (!packet || packet->bytes.empty()) return connection_.reset();
    const auto frame = base::open_packet(packet->bytes);
    switch (static_cast<launch::MessageType>(frame->type)) {
      case launch::MessageType::kOpenStream: {
        const auto message = wire::decode<launch::OpenStream>(frame->payload);
        add_stream(message->tag, message->guest_port, std::move(packet->fds[0]));
        return send(launch::Done{message->request});
      }
      case launch::MessageType::kAdoptStream: {
        const auto message = wire::decode<launch::AdoptStream>(frame->payload);
        // As the templates have them: the control stream is tag 1.
        add_stream(message->tag, message->tag == 1 ? protocol::kControlPort : protocol::kStreamPort,
                   std::move(packet->fds[0]));
        return send(launch::Done{message->request});
      }
      case launch::MessageType::kAttachDisk: {
        const auto message = wire::decode<launch::AttachDisk>(frame->payload);
        for (std::size_t i = 0; i < message->extents.size(); ++i)
          disk_[message->extents[i].offset] = std::move(packet->fds.at(i));
        return send(launch::Done{message->request});
      }
      case launch::MessageType::kDetachDisk: {
        const auto message = wire::decode<launch::DetachDisk>(frame->payload);
        std::erase_if(disk_, [&](const auto& file) {
          return file.first >= message->begin && file.first < message->end;
        });
        return send(launch::Done{message->request});
      }
      case launch::MessageType::kAttachFileServer: {
        const auto message = wire::decode<launch::AttachFileServer>(frame->payload);
        file_server_ = std::move(packet->fds.at(0));
        return send(launch::Done{message->request});
      }
      case launch::MessageType::kAttachNetwork: {
        const auto message = wire::decode<launch::AttachNetwork>(frame->payload);
        if (message->slot >= kCards)
          return send(launch::Failed{message->request,
                                     static_cast<std::uint8_t>(base::Code::kNotFound), "no card"});
        taps_[message->slot] = std::move(packet->fds.at(0));
        return send(launch::Done{message->request});
      }
      case launch::MessageType::kDetachNetwork: {
        const auto message = wire::decode<launch::DetachNetwork>(frame->payload);
        if (message->slot >= kCards)
          return send(launch::Failed{message->request,
                                     static_cast<std::uint8_t>(base::Code::kNotFound), "no card"});
        taps_.erase(message->slot);
        return send(launch::Done{message->request});
      }
      case launch::MessageType::kSaveTemplate:
        return save(*wire::decode<launch::SaveTemplate>(frame->payload), packet->fds);
      case launch::MessageType::kRestoreMachine:
        return restore(*wire::decode<launch::RestoreMachine>(frame->payload), packet->fds);
      case launch::MessageType::kStop:
        stop(launch::StopReason::kHostRequest, "stopped", "");
      case launch::MessageType::kRun:
        running_ = true;
        [[fallthrough]];
      default: {  // all begin with their request number
        wire::Decoder decoder(frame->payload);
        std::uint32_t request = 0;
        decoder.get(request);
        return send(launch::Done{request});
      }
    }
  }

  void save(const launch::SaveTemplate& message, const std::vector<base::UniqueFd>& files) {
    for (const base::UniqueFd& file : files)
      if (::write(files[0].get(), "template", 8) != 8 || !file) std::abort();
    send(launch::Saved{message.request, 8, tags_});
  }

  void restore(const launch::RestoreMachine& message, const std::vector<base::UniqueFd>& files) {
    char content[8] = {};
    if (files.size() != 2 || ::pread(files[0].get(), content, 8, 0) != 8 ||
        std::memcmp(content, "template", 8) != 0)
      return send(launch::Failed{message.request, 9, "not a template"});
    send(launch::Done{message.request});
  }

  [[noreturn]] void stop(launch::StopReason reason, std::string text, std::string console) {
    const launch::Stopped stopped{reason, std::move(text), std::move(console)};
    const wire::Bytes packet = base::packet_of(stopped);
    if (::pwrite(kResultFd, packet.data(), packet.size(), 0) < 0) std::abort();
    send(stopped);
    ::_exit(0);
  }

  void add_stream(std::uint32_t tag, std::uint32_t port, base::UniqueFd fd) {
    tags_.push_back(tag);
    if (port == protocol::kControlPort) {
      control_stream_ = std::move(fd);
      control_frames_ = {};
    } else {
      streams_.emplace_back().fd = std::move(fd);
      streams_.back().of_socket = port == protocol::kSocketPort;
    }
  }

  // ---- the guest ----

  void read_control() {
    std::byte buffer[4096];
    const ssize_t size = ::recv(control_stream_.get(), buffer, sizeof buffer, 0);
    if (size <= 0) return control_stream_.reset();
    control_frames_.feed(std::span(buffer).first(static_cast<std::size_t>(size)));
    for (auto frame = control_frames_.next(); frame && frame->has_value();
         frame = control_frames_.next())
      handle(**frame);
  }

  void handle(const wire::RawFrame& frame) {
    switch (static_cast<protocol::MessageType>(frame.type)) {
      case protocol::MessageType::kHello:
        if (!is_hosts(wire::decode<protocol::Hello>(frame.payload)->secret))
          return control_stream_.reset();
        return greet();
      case protocol::MessageType::kSetIdentity: {
        const auto message = wire::decode<protocol::SetIdentity>(frame.payload);
        secret_ = message->secret;
        return done(message->request);
      }
      case protocol::MessageType::kConfigureNetwork: {
        const auto message = wire::decode<protocol::ConfigureNetwork>(frame.payload);
        interfaces_.clear();
        for (const auto& interface : message->interfaces) interfaces_ += text_of(interface);
        return done(message->request);
      }
      case protocol::MessageType::kPrepareContainer: {
        const auto message = wire::decode<protocol::PrepareContainer>(frame.payload);
        if (!disk_.contains(message->disk.offset))
          return refuse(message->request, protocol::FailureKind::kRootFilesystem, "no disk");
        prepared_[message->container] = *message;
        return done(message->request);
      }
      case protocol::MessageType::kRemoveContainer: {
        const auto message = wire::decode<protocol::RemoveContainer>(frame.payload);
        return remove(*message);
      }
      case protocol::MessageType::kStartProcess:
        return start(*wire::decode<protocol::StartProcess>(frame.payload));
      case protocol::MessageType::kSignalProcess:
        return signal(*wire::decode<protocol::SignalProcess>(frame.payload));
      case protocol::MessageType::kSocketRefused: {
        const auto message = wire::decode<protocol::SocketRefused>(frame.payload);
        return end_of_connection(message->connection, "refused");
      }
      case protocol::MessageType::kForgetProcess: {
        const auto message = wire::decode<protocol::ForgetProcess>(frame.payload);
        processes_.erase(message->process);
        return done(message->request);
      }
      default: {
        wire::Decoder decoder(frame.payload);
        std::uint32_t request = 0;
        decoder.get(request);
        return done(request);
      }
    }
  }

  bool is_hosts(const protocol::Secret& said) const { return !secret_ || said == *secret_; }

  void refuse(std::uint32_t request, protocol::FailureKind kind, std::string what) {
    send_frame(control_stream_.get(),
               protocol::Failure{request, kind, 0, "prepare", std::move(what)});
  }

  void remove(const protocol::RemoveContainer& message) {
    if (prepared_.erase(message.container) == 0)
      return refuse(message.request, protocol::FailureKind::kInvalidRequest, "no such container");
    for (auto& [id, process] : processes_) {
      if (process.start.container != message.container || !process.runs) continue;
      process.runs = false;
      process.status.signaled = true;
      process.status.code = SIGKILL;
    }
    done(message.request);
  }

  void done(std::uint32_t request) { send_frame(control_stream_.get(), protocol::Done{request}); }

  void greet() {
    protocol::HelloReply reply;
    reply.kernel_release = "6.12-fake";
    for (const auto& [number, container] : prepared_) reply.containers.push_back(number);
    for (auto& [id, process] : processes_) {
      process.told = false;
      process.sent = process.acknowledged;
      reply.processes.push_back(
          {id, 0, 42, process.out == protocol::Stream::kStdout ? process.acknowledged : 0,
           process.out == protocol::Stream::kStderr ? process.acknowledged : 0, std::nullopt});
    }
    // Exits come in the same breath, as from guest-init.
    wire::Bytes bytes = wire::frame(reply);
    for (auto& [id, process] : processes_) {
      if (process.runs || process.produced.size() != process.acknowledged) continue;
      process.told = true;
      const wire::Bytes exit = wire::frame(protocol::ProcessExited{
          id, process.status, process.stdout_bytes(), process.stderr_bytes()});
      bytes.insert(bytes.end(), exit.begin(), exit.end());
    }
    send_all(control_stream_.get(), bytes.data(), bytes.size());
  }

  void start(protocol::StartProcess message) {
    const std::string& what = message.argv.at(0);
    const std::string argument = message.argv.size() > 1 ? message.argv[1] : "";
    if (what == "die") {
      if (!argument.empty()) ::dprintf(STDERR_FILENO, "earlier\n%s\n", argument.c_str());
      ::_exit(9);
    }
    if (what == "silence") return;
    if (what == "panic")
      stop(launch::StopReason::kGuestPanic, "the guest panicked", "Kernel panic - not syncing");
    if (what == "garbage") return send_all(control_stream_.get(), "\xff\xff\xff\xff\xff\xff", 6);
    if (what == "unasked") return done(message.request + 1000);
    if (what == "missing")
      return send_frame(
          control_stream_.get(),
          protocol::Failure{message.request, protocol::FailureKind::kExecutableNotFound, ENOENT,
                            "execve", "missing: not found"});
    FakeProcess process;
    process.start = message;
    if (what == "echo" || what == "complain") process.produced = argument;
    if (what == "complain") process.out = protocol::Stream::kStderr;
    if (what == "volumes") process.produced = volumes(message.container);
    if (what == "disk") process.produced = beginning_of(prepared_[message.container].disk.offset);
    if (what == "network") process.produced = network();
    if (what == "shares") process.produced = shares(message.container);
    if (what == "flood") process.produced.assign(std::stoul(argument), 'x');
    if (what == "exit") process.status.code = std::stoi(argument);
    process.copies_stdin = what == "cat";
    process.runs = what == "cat" || what == "sleep" || what == "deaf" || what == "connect";
    send_frame(control_stream_.get(),
               protocol::ProcessStarted{message.request, message.process, 42});
    if (what == "connect")
      send_frame(
          control_stream_.get(),
          protocol::SocketConnected{.connection = message.process,
                                    .container = message.container,
                                    .socket = static_cast<std::uint32_t>(std::stoul(argument))});
    processes_.emplace(message.process, std::move(process));
  }

  void end_of_connection(std::uint32_t connection, const std::string& heard) {
    FakeProcess* process = find(connection);
    if (process == nullptr) return;
    process->produced += heard;
    process->runs = false;
  }

  std::string network() const {
    std::string text;
    for (const auto& [slot, tap] : taps_) text += "tap " + std::to_string(slot) + "\n";
    return text + interfaces_;
  }

  std::string volumes(std::uint32_t container) {
    std::string text;
    for (const auto& volume : prepared_[container].volume_disks)
      text += beginning_of(volume.offset);
    return text;
  }

  /// Where the container's shares are, and whether the file server has them: "/srv yes\n".
  std::string shares(std::uint32_t container) {
    std::string text;
    fuse_init_in init{};
    init.major = FUSE_KERNEL_VERSION;
    init.minor = FUSE_KERNEL_MINOR_VERSION;
    ask_file_server(FUSE_INIT, std::string(reinterpret_cast<const char*>(&init), sizeof init));
    for (const auto& mount : prepared_[container].mounts) {
      using Source = protocol::PrepareContainer::Source;
      if (mount.source != Source::kDirectory && mount.source != Source::kHost) continue;
      const int error = ask_file_server(FUSE_LOOKUP, std::to_string(mount.number) + '\0');
      text += mount.path + (error == 0 ? " yes\n" : " no\n");
    }
    return text;
  }

  /// The error in the reply to one request for the root directory.
  int ask_file_server(std::uint32_t opcode, const std::string& body) {
    fuse_in_header header{};
    header.len = static_cast<std::uint32_t>(sizeof header + body.size());
    header.opcode = opcode;
    header.nodeid = FUSE_ROOT_ID;
    send_all(file_server_.get(), &header, sizeof header);
    send_all(file_server_.get(), body.data(), body.size());
    fuse_out_header reply{};
    if (::recv(file_server_.get(), &reply, sizeof reply, MSG_WAITALL) != sizeof reply) return -1;
    std::string rest(reply.len - sizeof reply, '\0');
    ::recv(file_server_.get(), rest.data(), rest.size(), MSG_WAITALL);
    return reply.error;
  }

  /// Of the file that is there on the writable disk.
  std::string beginning_of(std::uint64_t offset) {
    char content[8] = {};
    if (::pread(disk_[offset].get(), content, sizeof content, 0) != sizeof content) std::abort();
    return {content, sizeof content};
  }

  void signal(const protocol::SignalProcess& message) {
    const auto found = processes_.find(message.process);
    if (found == processes_.end() || !found->second.runs)
      return send_frame(control_stream_.get(),
                        protocol::Failure{message.request, protocol::FailureKind::kNoSuchProcess, 0,
                                          "signal", "no such process"});
    if (found->second.start.argv.at(0) == "deaf") return;
    found->second.runs = false;
    found->second.status.signaled = true;
    found->second.status.code = message.signal;
    done(message.request);
  }

  void open_connection(FakeStream& stream, const protocol::SocketOpen& open) {
    if (!is_hosts(open.secret)) return stream.fd.reset();
    stream.named = true;
    stream.process = open.connection;
    send_all(stream.fd.get(), "hello", 5);
    ::shutdown(stream.fd.get(), SHUT_WR);
  }

  void read_stream(FakeStream& stream) {
    std::byte buffer[65536];
    const ssize_t size = ::recv(stream.fd.get(), buffer, sizeof buffer, 0);
    if (size <= 0) return end_of_stream(stream);
    const auto bytes = std::span(buffer).first(static_cast<std::size_t>(size));
    if (stream.named) return take(stream, bytes);
    stream.frames.feed(bytes);
    const auto frame = stream.frames.next();
    if (!frame || !frame->has_value()) return;
    if (stream.of_socket) {
      open_connection(stream, *wire::decode<protocol::SocketOpen>((*frame)->payload));
      if (const wire::Bytes rest = stream.frames.take_rest(); !rest.empty()) take(stream, rest);
      return;
    }
    const auto open = wire::decode<protocol::StreamOpen>((*frame)->payload);
    if (open->secret == protocol::Secret{} || !is_hosts(open->secret)) return stream.fd.reset();
    stream.named = true;
    stream.process = open->process;
    stream.stream = open->stream;
    if (auto* process = find(open->process); process != nullptr && process->out == open->stream)
      process->sent = open->offset;
    const wire::Bytes rest = stream.frames.take_rest();
    if (!rest.empty()) take(stream, rest);
  }

  void take(FakeStream& stream, std::span<const std::byte> bytes) {
    FakeProcess* process = find(stream.process);
    const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (stream.of_socket) {
      if (process != nullptr) process->produced += text;
      return;
    }
    if (stream.stream == protocol::Stream::kStdin) {
      if (process != nullptr && process->copies_stdin) process->produced += text;
      return;
    }
    stream.acknowledgements += text;
    while (stream.acknowledgements.size() >= 8) {
      std::uint64_t total = 0;
      std::memcpy(&total, stream.acknowledgements.data(), 8);
      stream.acknowledgements.erase(0, 8);
      if (process != nullptr && process->out == stream.stream) process->acknowledged = total;
    }
  }

  void end_of_stream(FakeStream& stream) {
    if (stream.of_socket) {
      end_of_connection(stream.process, "");
      return stream.fd.reset();
    }
    if (FakeProcess* process = find(stream.process);
        process != nullptr && stream.stream == protocol::Stream::kStdin && process->copies_stdin)
      process->runs = false;
    stream.fd.reset();
  }

  FakeProcess* find(std::uint32_t id) {
    const auto found = processes_.find(id);
    return found == processes_.end() ? nullptr : &found->second;
  }

  void pump_output() {
    for (FakeStream& stream : streams_) {
      FakeProcess* process = stream.named && !stream.of_socket ? find(stream.process) : nullptr;
      if (process == nullptr || process->out != stream.stream) continue;
      while (process->sent < process->produced.size() &&
             process->sent - process->acknowledged < protocol::kReplayBytes) {
        const std::size_t size =
            std::min<std::size_t>(process->produced.size() - process->sent, 32u << 10);
        send_all(stream.fd.get(), process->produced.data() + process->sent, size);
        process->sent += size;
      }
    }
    for (auto& [id, process] : processes_) {
      // All output must be in the "replay buffer" before the exit is told.
      const bool read = process.produced.size() - process.acknowledged <= protocol::kReplayBytes;
      if (process.runs || process.told || !read || !control_stream_) continue;
      process.told = true;
      send_frame(control_stream_.get(),
                 protocol::ProcessExited{id, process.status, process.stdout_bytes(),
                                         process.stderr_bytes()});
    }
  }

  base::UniqueFd connection_;
  base::UniqueFd control_stream_;
  wire::FrameReader control_frames_;
  std::list<FakeStream> streams_;
  std::vector<std::uint32_t> tags_;
  std::map<std::uint64_t, base::UniqueFd> disk_;  // offset -> file
  std::optional<protocol::Secret> secret_;
  std::map<std::uint32_t, protocol::PrepareContainer> prepared_;
  std::map<std::uint32_t, base::UniqueFd> taps_;  // card -> tap
  std::string interfaces_;
  base::UniqueFd file_server_;
  std::map<std::uint32_t, FakeProcess> processes_;
  bool running_ = false;
};

}  // namespace

int main() { FakeMonitor().run(); }
