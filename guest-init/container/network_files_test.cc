#include "guest-init/container/network_files.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace guest_init {
namespace {

namespace fs = std::filesystem;

class NetworkFilesTest : public ::testing::Test {
 protected:
  NetworkFilesTest() : files_(make_directory()) {
    protocol::PrepareContainer spec;
    spec.hostname_file = "box\n";
    spec.hosts_file = "127.0.0.1\tlocalhost\n172.17.0.2\tbox\n";
    spec.resolv_conf_file = "nameserver 192.0.2.1\n";
    EXPECT_TRUE(files_.write(spec));
  }
  ~NetworkFilesTest() override { fs::remove_all(files_.directory()); }

  static std::string make_directory() {
    std::string name = (fs::temp_directory_path() / "network_files_XXXXXX").string();
    return ::mkdtemp(name.data()) == nullptr ? std::string() : name;
  }

  std::string read(const std::string& name) const {
    std::ostringstream text;
    text << std::ifstream(files_.directory() + "/" + name).rdbuf();
    return text.str();
  }
  /// As a process of the container does it.
  void change(const std::string& name, const std::string& text) const {
    std::ofstream(files_.directory() + "/" + name) << text;
  }

  NetworkFiles files_;
  protocol::UpdateNetworkFiles request_;
};

TEST_F(NetworkFilesTest, AreWritten) {
  EXPECT_EQ(read("hostname"), "box\n");
  EXPECT_EQ(read("hosts"), "127.0.0.1\tlocalhost\n172.17.0.2\tbox\n");
  EXPECT_EQ(read("resolv.conf"), "nameserver 192.0.2.1\n");
}

TEST_F(NetworkFilesTest, LoseAndGetLinesAsNetworksDo) {
  request_.removed_hosts = {"172.17.0.2\tbox"};
  request_.added_hosts = {"172.18.0.2\tbox", "172.19.0.2\tbox"};
  request_.resolv_conf_file = "nameserver 127.0.0.11\n";

  ASSERT_TRUE(files_.update(request_));

  EXPECT_EQ(read("hosts"), "127.0.0.1\tlocalhost\n172.18.0.2\tbox\n172.19.0.2\tbox\n");
  EXPECT_EQ(read("resolv.conf"), "nameserver 127.0.0.11\n");

  request_.removed_hosts.clear();
  request_.added_hosts.clear();
  request_.resolv_conf_file = "nameserver 192.0.2.1\n";
  ASSERT_TRUE(files_.update(request_));
  EXPECT_EQ(read("resolv.conf"), "nameserver 192.0.2.1\n");
}

TEST_F(NetworkFilesTest, KeepWhatTheContainerChanged) {
  change("hosts", "172.17.0.2\tbox mine\n\n10.0.0.1\tother");
  change("resolv.conf", "nameserver 10.0.0.1\n");
  request_.removed_hosts = {"172.17.0.2\tbox"};
  request_.added_hosts = {"172.18.0.2\tbox"};
  request_.resolv_conf_file = "nameserver 127.0.0.11\n";

  ASSERT_TRUE(files_.update(request_));

  EXPECT_EQ(read("hosts"), "172.17.0.2\tbox mine\n\n10.0.0.1\tother\n172.18.0.2\tbox\n");
  EXPECT_EQ(read("resolv.conf"), "nameserver 10.0.0.1\n");
}

TEST_F(NetworkFilesTest, AreLeftAloneWhereTheyHaveBecomeTooLarge) {
  const std::string large((1u << 20) + 1, 'x');
  change("hosts", large);
  request_.added_hosts = {"172.18.0.2\tbox"};

  EXPECT_EQ(files_.update(request_).error().code, base::Code::kResourceExhausted);
  EXPECT_EQ(read("hosts"), large);
}

}  // namespace
}  // namespace guest_init
