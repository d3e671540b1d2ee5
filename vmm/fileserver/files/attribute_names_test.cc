#include "vmm/fileserver/files/attribute_names.h"

#include <gtest/gtest.h>

namespace fileserver {
namespace {

using std::string_literals::operator""s;

std::string host_name(std::string_view name) { return *host_attribute(name); }
int error_of(std::string_view name) { return host_attribute(name).error().value; }

TEST(AttributeNames, KeepsTrustedOnesBelowAPrefix) {
  EXPECT_EQ(host_name("trusted.overlay.opaque"), "user.containervm.trusted.overlay.opaque");
}

TEST(AttributeNames, LeavesOthersAsTheyAre) {
  for (const char* const name : {"user.a", "security.capability", "system.posix_acl_access"})
    EXPECT_EQ(host_name(name), name);
}

TEST(AttributeNames, GuestsCannotNameThePrefix) {
  EXPECT_EQ(error_of("user.containervm."), EPERM);
  EXPECT_EQ(error_of("user.containervm.trusted.overlay.opaque"), EPERM);
}

TEST(AttributeNames, RefusesWhatTheHostHasNoRoomFor) {
  EXPECT_EQ(error_of("trusted." + std::string(240, 'x')), ERANGE);
}

TEST(AttributeNames, ListsWhatGuestsCallThem) {
  EXPECT_EQ(guest_attributes("user.a\0user.containervm.trusted.x\0security.y\0"s),
            "user.a\0trusted.x\0security.y\0"s);
}

TEST(AttributeNames, HidesTheHostsOwn) {
  EXPECT_EQ(guest_attributes("trusted.host\0user.containervm.other\0user.b\0"s), "user.b\0"s);
}

TEST(AttributeNames, TakesAListWithoutItsLastNul) {
  EXPECT_EQ(guest_attributes("user.a"), "user.a\0"s);
  EXPECT_EQ(guest_attributes(""), "");
}

}  // namespace
}  // namespace fileserver
