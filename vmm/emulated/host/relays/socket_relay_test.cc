#include "vmm/emulated/host/relays/socket_relay.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

namespace emulated {
namespace {

class SocketRelayTest : public testing::Test {
 protected:
  SocketRelayTest() {
    std::string name = testing::TempDir() + "relay-XXXXXX";
    directory_ = ::mkdtemp(name.data());
  }
  ~SocketRelayTest() override { std::filesystem::remove_all(directory_); }

  std::filesystem::path directory_;
};

TEST_F(SocketRelayTest, OffersASocketThatOnlyItsOwnerMayUse) {
  auto relay = SocketRelay::start(directory_ / "s", Endpoint{}, "/target");
  ASSERT_TRUE(relay);

  struct stat status {};
  ASSERT_EQ(::stat((directory_ / "s").c_str(), &status), 0);

  EXPECT_TRUE(S_ISSOCK(status.st_mode));
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(SocketRelayTest, LeavesNoSocketBehind) {
  { auto relay = SocketRelay::start(directory_ / "s", Endpoint{}, "/target"); }

  EXPECT_FALSE(std::filesystem::exists(directory_ / "s"));
}

TEST_F(SocketRelayTest, SaysThatAPathIsTooLong) {
  const auto relay = SocketRelay::start(directory_ / std::string(120, 'x'), Endpoint{}, "/target");

  ASSERT_FALSE(relay);
  EXPECT_EQ(relay.error().code, base::Code::kInvalidArgument);
}

}  // namespace
}  // namespace emulated
