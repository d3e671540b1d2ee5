#include "guest-init/server/secret.h"

#include <gtest/gtest.h>
#include <linux/vm_sockets.h>
#include <sys/socket.h>

#include <cstring>

#include "guest-init/server/host_listener.h"

namespace guest_init {
namespace {

protocol::Secret secret_of(std::uint8_t byte) {
  protocol::Secret secret;
  secret.fill(byte);
  return secret;
}

sockaddr_storage vsock_peer(unsigned cid) {
  sockaddr_vm address{};
  address.svm_family = AF_VSOCK;
  address.svm_cid = cid;
  address.svm_port = protocol::kControlPort;
  sockaddr_storage peer{};
  std::memcpy(&peer, &address, sizeof address);
  return peer;
}

TEST(MachineSecret, IsNotAskedForBeforeItIsSet) {
  const MachineSecret secret;

  EXPECT_FALSE(secret.is_set());
  EXPECT_TRUE(secret.matches(protocol::Secret{}));
}

TEST(MachineSecret, MatchesItselfOnly) {
  MachineSecret secret;
  secret.set(secret_of(7));

  EXPECT_TRUE(secret.matches(secret_of(7)));
  EXPECT_FALSE(secret.matches(protocol::Secret{}));
  for (std::size_t byte = 0; byte < protocol::Secret{}.size(); ++byte) {
    protocol::Secret almost = secret_of(7);
    almost[byte] ^= 0x80;
    EXPECT_FALSE(secret.matches(almost)) << byte;
  }
}

TEST(MachineSecret, IsNotEmpty) {
  protocol::Secret least{};
  least.back() = 1;

  EXPECT_FALSE(MachineSecret::is_valid(protocol::Secret{}));
  EXPECT_TRUE(MachineSecret::is_valid(least));
}

TEST(HostPeer, IsCidTwoAndNobodyElse) {
  constexpr unsigned kGuest = 3;
  EXPECT_TRUE(is_host(vsock_peer(VMADDR_CID_HOST)));

  for (const unsigned cid :
       {unsigned{VMADDR_CID_LOCAL}, unsigned{VMADDR_CID_HYPERVISOR}, kGuest, VMADDR_CID_ANY})
    EXPECT_FALSE(is_host(vsock_peer(cid))) << cid;
  sockaddr_storage other = vsock_peer(VMADDR_CID_HOST);
  other.ss_family = AF_UNIX;
  EXPECT_FALSE(is_host(other));
}

}  // namespace
}  // namespace guest_init
