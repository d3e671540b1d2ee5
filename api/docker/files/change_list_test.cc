#include "api/docker/files/change_list.h"

#include <gtest/gtest.h>

namespace docker {
namespace {

using protocol::files::ChangeKind;

TEST(ChangeList, IsDockersJson) {
  ChangeList list;

  list.add({.path = "/etc", .kind = ChangeKind::kModified});
  list.add({.path = "/etc/a \"b\"", .kind = ChangeKind::kAdded});
  list.add({.path = "/etc/c", .kind = ChangeKind::kDeleted});
  list.finish();

  EXPECT_EQ(list.take(),
            "[{\"Kind\":0,\"Path\":\"/etc\"},{\"Kind\":1,\"Path\":\"/etc/a "
            "\\\"b\\\"\"},{\"Kind\":2,\"Path\":\"/etc/c\"}]\n");
}

TEST(ChangeList, OfNothingIsNull) {
  ChangeList list;

  list.finish();

  EXPECT_EQ(list.take(), "null\n");
}

}  // namespace
}  // namespace docker
