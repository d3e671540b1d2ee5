#include "api/docker/files/change_list.h"

#include <gtest/gtest.h>

namespace docker {
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

TEST(ChangeList, IsDockersJson) {
  ChangeList list;

  EXPECT_TRUE(list.add(change("etc", ChangeKind::kModified)));
  EXPECT_TRUE(list.add(change("etc/a \"b\"", ChangeKind::kAdded)));
  EXPECT_TRUE(list.add(change("etc/c", ChangeKind::kDeleted)));
  EXPECT_TRUE(list.add(frame_of(files::End{})));

  EXPECT_TRUE(list.complete());
  EXPECT_EQ(list.take(),
            "[{\"Kind\":0,\"Path\":\"/etc\"},{\"Kind\":1,\"Path\":\"/etc/a "
            "\\\"b\\\"\"},{\"Kind\":2,\"Path\":\"/etc/c\"}]\n");
}

TEST(ChangeList, OfNothingIsNull) {
  ChangeList list;

  EXPECT_TRUE(list.add(frame_of(files::End{})));

  EXPECT_EQ(list.take(), "null\n");
}

TEST(ChangeList, RefusesWhatBreaksTheProtocol) {
  const auto code_of = [](const wire::RawFrame& frame) {
    ChangeList list;
    const auto added = list.add(frame);
    return added ? Code::kAlreadyExists : added.error().code;
  };

  EXPECT_EQ(code_of(change("", ChangeKind::kAdded)), Code::kDataLoss);
  EXPECT_EQ(code_of(change("/absolute", ChangeKind::kAdded)), Code::kDataLoss);
  EXPECT_EQ(code_of(change(std::string("nul\0", 4), ChangeKind::kAdded)), Code::kDataLoss);
  EXPECT_EQ(code_of(change("x", static_cast<ChangeKind>(3))), Code::kDataLoss);
  EXPECT_EQ(code_of(frame_of(files::Data{})), Code::kInternal);
}

TEST(ChangeList, TakesNothingAfterItsEnd) {
  ChangeList list;
  EXPECT_TRUE(list.add(frame_of(files::End{})));

  EXPECT_EQ(list.add(change("late", ChangeKind::kAdded)).error().code, Code::kDataLoss);
}

TEST(ChangeList, TellsWhyTheToolFailed) {
  ChangeList list;

  const auto added = list.add(frame_of(files::Failed{.kind = {}, .message = "disk is broken"}));

  EXPECT_EQ(added.error().message, "disk is broken");
}

}  // namespace
}  // namespace docker
