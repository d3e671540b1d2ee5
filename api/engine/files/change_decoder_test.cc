#include "api/engine/files/change_decoder.h"

#include <gtest/gtest.h>

namespace engine {
namespace {

namespace files = protocol::files;
using base::Code;
using files::ChangeKind;

template <typename M>
wire::RawFrame frame_of(const M& message) {
  wire::FrameReader reader;
  reader.feed(wire::frame(message));
  return *reader.next().value();
}

wire::RawFrame change(std::string path, ChangeKind kind) {
  return frame_of(files::Change{.path = std::move(path), .kind = kind});
}

TEST(ChangeDecoder, TakesChangesUntilTheEnd) {
  ChangeDecoder decoder;

  const auto modified = decoder.take(change("etc", ChangeKind::kModified));
  const auto deleted = decoder.take(change("etc/c", ChangeKind::kDeleted));
  const auto end = decoder.take(frame_of(files::End{}));

  ASSERT_TRUE(modified && *modified && deleted && *deleted);
  EXPECT_EQ((*modified)->path, "/etc");
  EXPECT_EQ((*modified)->kind, ChangeKind::kModified);
  EXPECT_EQ((*deleted)->path, "/etc/c");
  EXPECT_EQ((*deleted)->kind, ChangeKind::kDeleted);
  ASSERT_TRUE(end);
  EXPECT_FALSE(end->has_value());
}

TEST(ChangeDecoder, RefusesWhatBreaksTheProtocol) {
  const auto code_of = [](const wire::RawFrame& frame) {
    ChangeDecoder decoder;
    const auto taken = decoder.take(frame);
    return taken ? Code::kAlreadyExists : taken.error().code;
  };

  EXPECT_EQ(code_of(change("", ChangeKind::kAdded)), Code::kDataLoss);
  EXPECT_EQ(code_of(change("/absolute", ChangeKind::kAdded)), Code::kDataLoss);
  EXPECT_EQ(code_of(change(std::string("nul\0", 4), ChangeKind::kAdded)), Code::kDataLoss);
  EXPECT_EQ(code_of(change("x", static_cast<ChangeKind>(3))), Code::kDataLoss);
  EXPECT_EQ(code_of(frame_of(files::Data{})), Code::kInternal);
}

TEST(ChangeDecoder, TakesNothingAfterTheEnd) {
  ChangeDecoder decoder;
  EXPECT_TRUE(decoder.take(frame_of(files::End{})));

  EXPECT_EQ(decoder.take(change("late", ChangeKind::kAdded)).error().code, Code::kDataLoss);
}

TEST(ChangeDecoder, TellsWhyTheToolFailed) {
  ChangeDecoder decoder;

  const auto taken = decoder.take(frame_of(files::Failed{.kind = {}, .message = "disk is broken"}));

  EXPECT_EQ(taken.error().message, "disk is broken");
}

}  // namespace
}  // namespace engine
