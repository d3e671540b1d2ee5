// Any requests to a file server: nothing outside of its tree is told or changed, each request that
// wants an answer gets one, and nothing that a guest sends ends the server.
//
// The input is a row of requests: opcode, node, length of the arguments (a byte each), arguments.
// The server's numbers only grow, so the input counts from its own beginning: node 2 is the tree's
// top, and 0x6e00 + N and 0x6800 + N in a word of the arguments are node and handle N.
#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <string>
#include <thread>

#include "vmm/base/fuzz_input.h"
#include "vmm/fileserver/files/caller.h"
#include "vmm/fileserver/session/fuse_session.h"
#include "vmm/fileserver/session/request_check.h"
#include "vmm/fileserver/testing/fuse_client.h"

namespace {

using fileserver::Payload;
using fileserver::RawBytes;

constexpr std::string_view kSentinel = "the bytes of a file that is in no tree";
constexpr rlim_t kLargestFile = 1 << 20;
constexpr std::size_t kMostOpen = 64;
constexpr std::uint64_t kNodeMark = 0x6e00, kHandleMark = 0x6800, kMark = 0xff00;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

/// A directory to share, with a sentinel beside it.
class Place {
 public:
  Place() {
    std::string name = std::filesystem::temp_directory_path() / "fileserver-fuzz.XXXXXX";
    require(::mkdtemp(name.data()) != nullptr, "no temporary directory");
    path_ = name;
    std::ofstream(sentinel()) << kSentinel;
  }
  ~Place() { std::filesystem::remove_all(path_); }

  /// Makes the shared directory anew.
  void fill() const {
    std::filesystem::remove_all(share());
    std::filesystem::create_directories(share() / "d");
    std::ofstream(share() / "f") << "text";
    std::filesystem::create_symlink("../sentinel", share() / "l");
    std::filesystem::create_symlink("..", share() / "u");
    require(::mkfifo((share() / "p").c_str(), 0600) == 0, "no FIFO");
  }

  void check() const {
    std::ifstream file(sentinel(), std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    require(text == kSentinel, "a file outside of the tree has changed");
    const auto entries = std::distance(std::filesystem::directory_iterator(path_),
                                       std::filesystem::directory_iterator());
    require(entries == 2, "something outside of the tree has been made or removed");
  }

  std::filesystem::path share() const { return path_ / "share"; }

 private:
  std::filesystem::path sentinel() const { return path_ / "sentinel"; }

  std::filesystem::path path_;
};

/// Counts answers and looks into them.
class Answers {
 public:
  bool take(std::span<iovec> parts) {
    std::string text;
    for (const iovec& part : parts)
      text.append(static_cast<const char*>(part.iov_base), part.iov_len);
    fuse_out_header header{};
    require(text.size() >= sizeof header, "an answer without a header");
    std::memcpy(&header, text.data(), sizeof header);
    require(header.len == text.size(), "an answer that is not as long as it says");
    require(header.error <= 0 && header.error > -1000, "an answer with an error that is none");
    require(text.find(kSentinel) == std::string::npos, "a file outside of the tree was read");
    const std::lock_guard lock(mutex_);
    ++count_;
    last_ = text.substr(sizeof header);
    return true;
  }
  std::size_t count() {
    const std::lock_guard lock(mutex_);
    return count_;
  }
  /// The first word of the last answer's body.
  std::uint64_t word() {
    const std::lock_guard lock(mutex_);
    std::uint64_t value = 0;
    std::memcpy(&value, last_.data(), std::min(sizeof value, last_.size()));
    return value;
  }

 private:
  std::mutex mutex_;
  std::size_t count_ = 0;
  std::string last_;
};

/// A server in this process. Its threads are prepared ones; the fuzzer's own stays where it is.
class Bench {
 public:
  Bench() {
    const rlimit limit{kLargestFile, kLargestFile};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    std::signal(SIGXFSZ, SIG_IGN);
    locks_ = std::thread([this] {
      require(fileserver::prepare_thread(files_.descriptors()).has_value(), "no thread");
      files_.waits().run();
    });
  }
  ~Bench() {
    files_.waits().stop();
    locks_.join();
  }

  void run(base::FuzzInput& input) {
    std::thread([&] {
      require(fileserver::prepare_thread(files_.descriptors()).has_value(), "no thread");
      begin();
      while (!input.empty()) send_next(input);
      end();
    }).join();
    place_.check();
  }

 private:
  void send(std::uint32_t opcode, std::uint64_t node, const Payload& payload) {
    RawBytes bytes = fileserver::request_bytes(opcode, node, payload, 1, 1234, 5678);
    if (!fileserver::is_unanswered(opcode)) ++expected_;
    session_.process(bytes);
  }

  /// The tree, and its top as the first node and the first handle.
  void begin() {
    place_.fill();
    base::UniqueFd root(::open(place_.share().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    require(files_.add_tree({.number = 1}, std::move(root)).has_value(), "no tree");
    fuse_init_in in{};
    in.major = 7;
    in.minor = 41;
    in.flags = in.flags2 = ~0u;
    send(FUSE_INIT, 0, Payload().add(in));
    send(FUSE_LOOKUP, FUSE_ROOT_ID, Payload().add_name("1"));
    first_node_ = answers_.word();
    send(FUSE_OPENDIR, first_node_, Payload().add(fuse_open_in{}));
    first_handle_ = answers_.word();
  }

  std::uint64_t node(std::uint64_t small) const {
    return small < 2 ? small : first_node_ + small - 2;
  }

  std::uint64_t translated(std::uint64_t word) const {
    if ((word & ~std::uint64_t{0xff}) == kNodeMark) return node(word & ~kMark);
    if ((word & ~std::uint64_t{0xff}) == kHandleMark) return first_handle_ + (word & ~kMark);
    return word;
  }

  void send_next(base::FuzzInput& input) {
    const std::uint32_t opcode = input.take<std::uint8_t>();
    const std::uint64_t of = node(input.take<std::uint8_t>());
    const auto bytes = input.take_bytes(input.take<std::uint8_t>());
    std::string arguments(bytes.begin(), bytes.end());
    for (std::size_t at = 0; at + 8 <= arguments.size(); at += 8) {
      std::uint64_t word = 0;
      std::memcpy(&word, arguments.data() + at, sizeof word);
      word = translated(word);
      std::memcpy(arguments.data() + at, &word, sizeof word);
    }
    send(opcode, of, Payload().add_data(arguments));
  }

  /// What waits for a lock is answered, too.
  void end() {
    files_.remove_trees(1, 2);
    files_.reset();
    for (int i = 0; answers_.count() < expected_ && i < 10000; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    require(answers_.count() == expected_, "a request has got no answer, or more than one");
  }

  Place place_;
  Answers answers_;
  fileserver::FileSystem files_{
      {base::UniqueFd(::open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC)), kMostOpen}};
  fileserver::FuseSession session_{files_,
                                   [this](std::span<iovec> parts) { return answers_.take(parts); }};
  std::thread locks_;
  std::size_t expected_ = 0;
  std::uint64_t first_node_ = 0;
  std::uint64_t first_handle_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (::geteuid() != 0) return 0;  // files are made as somebody else
  static Bench bench;
  base::FuzzInput input(data, size);
  bench.run(input);
  return 0;
}
