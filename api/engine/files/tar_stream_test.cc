#include "api/engine/files/tar_stream.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <limits>
#include <thread>

#include "api/engine/files/file_time.h"
#include "api/engine/files/tar_writer.h"
#include "vmm/base/seqpacket.h"

namespace engine {
namespace {

namespace files = protocol::files;
using base::Code;

template <typename M>
wire::RawFrame frame_of(const M& message) {
  wire::FrameReader reader;
  reader.feed(wire::frame(message));
  return *reader.next().value();
}

files::Entry file(std::string path, std::uint64_t size) {
  files::Entry entry;
  entry.path = std::move(path);
  entry.mode = 0640;
  entry.user = 70'000;
  entry.group = 7;
  entry.size = size;
  entry.modified_ns = 1'700'000'000'000'000'000;
  return entry;
}

files::Data data_of(std::string_view text) {
  files::Data data;
  data.bytes.resize(text.size());
  std::memcpy(data.bytes.data(), text.data(), text.size());
  return data;
}

std::vector<std::byte> archive_of(const std::vector<wire::RawFrame>& frames) {
  auto writer = TarWriter::create();
  EXPECT_TRUE(writer);
  for (const wire::RawFrame& frame : frames) EXPECT_TRUE((*writer)->add(frame));
  return (*writer)->take();
}

struct Converted {
  base::Result<void> result;
  std::vector<wire::RawFrame> frames;
};

Converted convert(std::span<const std::byte> tar) {
  auto in = base::make_socket_pair(SOCK_STREAM);
  auto out = base::make_socket_pair(SOCK_STREAM);
  std::jthread feeder([&] {
    while (!tar.empty()) {
      const ssize_t sent = ::send(in->first.get(), tar.data(), tar.size(), MSG_NOSIGNAL);
      if (sent <= 0) break;
      tar = tar.subspan(static_cast<std::size_t>(sent));
    }
    ::shutdown(in->first.get(), SHUT_WR);
  });
  wire::FrameReader reader;
  std::jthread taker([&] {
    std::byte piece[4096];
    for (ssize_t size = 0; (size = ::read(out->second.get(), piece, sizeof piece)) > 0;)
      reader.feed(std::span(piece).first(static_cast<std::size_t>(size)));
  });
  images::FdSource source(in->second.get());
  images::FdSink sink(out->first.get());
  Converted converted{.result = tar_to_frames(source, sink), .frames = {}};
  in->second.reset();
  out->first.reset();
  feeder.join();
  taker.join();
  while (auto frame = reader.next().value()) converted.frames.push_back(*std::move(frame));
  return converted;
}

TEST(TarWriter, WritesWhiteoutsInALayerOnly) {
  files::Entry whiteout;
  whiteout.path = "a/b";
  whiteout.kind = files::EntryKind::kWhiteout;

  auto layer = TarWriter::create(TarWriter::Form::kLayer);
  auto archive = TarWriter::create();
  EXPECT_TRUE((*layer)->add(frame_of(whiteout)));
  const auto refused = (*archive)->add(frame_of(whiteout));
  const std::vector<std::byte> bytes = (*layer)->take();

  EXPECT_STREQ(reinterpret_cast<const char*>(bytes.data()), "a/.wh.b");
  EXPECT_EQ(refused.error().code, Code::kDataLoss);
}

TEST(TarWriter, RefusesNamesThatWouldBeWhiteoutsInALayer) {
  for (const char* path : {".wh.a", "a/.wh.b", "a/.wh..wh..opq", ".wh.d/a"}) {
    auto layer = TarWriter::create(TarWriter::Form::kLayer);
    EXPECT_EQ((*layer)->add(frame_of(file(path, 0))).error().code, Code::kDataLoss) << path;
  }
}

TEST(TarStream, ComesBackAsItWasWritten) {
  files::Entry directory = file("top", 0);
  directory.kind = files::EntryKind::kDirectory;
  files::Entry link = file("top/link", 0);
  link.kind = files::EntryKind::kSymbolicLink;
  link.link = "/somewhere/else";
  files::Entry twin = file("top/twin", 0);
  twin.kind = files::EntryKind::kHardLink;
  twin.link = "top/" + std::string(200, 'n');
  const std::string text = "contents\n";

  const auto tar =
      archive_of({frame_of(directory), frame_of(file(twin.link, text.size())),
                  frame_of(data_of(text)), frame_of(link), frame_of(twin), frame_of(files::End{})});
  const Converted converted = convert(tar);

  ASSERT_TRUE(converted.result) << converted.result.error().message;
  ASSERT_EQ(converted.frames.size(), 6u);
  const auto first = *wire::decode<files::Entry>(converted.frames[1].payload);
  EXPECT_EQ(first.path, twin.link);
  EXPECT_EQ(first.mode, 0640u);
  EXPECT_EQ(first.user, 70'000u);
  EXPECT_EQ(first.group, 7u);
  EXPECT_EQ(first.size, text.size());
  EXPECT_EQ(first.modified_ns, 1'700'000'000'000'000'000);
  const auto symbolic = *wire::decode<files::Entry>(converted.frames[3].payload);
  EXPECT_EQ(symbolic.kind, files::EntryKind::kSymbolicLink);
  EXPECT_EQ(symbolic.link, "/somewhere/else");
  const auto hard = *wire::decode<files::Entry>(converted.frames[4].payload);
  EXPECT_EQ(hard.kind, files::EntryKind::kHardLink);
  EXPECT_EQ(hard.link, twin.link);
}

TEST(TarStream, ATimeBeyondAllClocksIsTheLastOne) {
  EXPECT_EQ(file_time_ns(1'700'000'000, 5), 1'700'000'000'000'000'005);
  EXPECT_EQ(file_time_ns(std::int64_t{1} << 62, 0), std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(file_time_ns(-(std::int64_t{1} << 62), 0), std::numeric_limits<std::int64_t>::min());
}

TEST(TarStream, AnEmptyBodyIsAnEmptyArchive) {
  const Converted converted = convert({});

  ASSERT_TRUE(converted.result);
  ASSERT_EQ(converted.frames.size(), 1u);
  EXPECT_EQ(converted.frames[0].type, static_cast<std::uint16_t>(files::FrameType::kEnd));
}

TEST(TarStream, RefusesWhatIsNoArchive) {
  const std::vector<std::byte> noise(2048, std::byte{'x'});

  EXPECT_EQ(convert(noise).result.error().code, Code::kInvalidArgument);
}

TEST(TarStream, NoticesACutArchive) {
  const std::string text(5000, 'a');
  auto tar = archive_of(
      {frame_of(file("a", text.size())), frame_of(data_of(text)), frame_of(files::End{})});
  tar.resize(2000);

  EXPECT_EQ(convert(tar).result.error().code, Code::kInvalidArgument);
}

TEST(TarStream, PassesOnWhyTheArchiveCannotBeRead) {
  class BrokenSource final : public images::ByteSource {
    base::Result<std::size_t> read(std::span<std::byte>) override {
      return base::Error{Code::kUnavailable, "the client is gone"};
    }
  };
  BrokenSource source;
  images::StringSink sink(64);

  const auto converted = tar_to_frames(source, sink);

  EXPECT_EQ(converted.error().code, Code::kUnavailable);
  EXPECT_EQ(converted.error().message, "the client is gone");
}

TEST(TarWriter, RefusesAGuestThatBreaksTheProtocol) {
  const auto refused = [](const std::vector<wire::RawFrame>& frames) {
    auto writer = TarWriter::create();
    for (const wire::RawFrame& frame : frames)
      if (!(*writer)->add(frame)) return true;
    return false;
  };
  files::Entry unknown = file("a", 0);
  unknown.kind = static_cast<files::EntryKind>(77);
  wire::RawFrame garbage{.type = 1, .payload = {std::byte{1}}};

  EXPECT_TRUE(refused({frame_of(data_of("x"))}));
  EXPECT_TRUE(refused({frame_of(file("a", 5)), frame_of(file("b", 0))}));
  EXPECT_TRUE(refused({frame_of(file("a", 1)), frame_of(data_of("xy"))}));
  EXPECT_TRUE(refused({frame_of(file("a", 1)), frame_of(files::End{})}));
  EXPECT_TRUE(refused({frame_of(file("", 0))}));
  EXPECT_TRUE(refused({frame_of(file("a", ~std::uint64_t{0}))}));
  EXPECT_TRUE(refused({frame_of(unknown)}));
  EXPECT_TRUE(refused({garbage}));
  EXPECT_TRUE(refused({frame_of(files::End{}), frame_of(file("a", 0))}));
}

}  // namespace
}  // namespace engine
