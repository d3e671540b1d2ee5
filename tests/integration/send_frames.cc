// Sends Ethernet frames as they are given. For spoofed_frames_test.py, inside a container.
//
//   send_frames INTERFACE HEX...
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>

#include <cstdio>
#include <string>

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  sockaddr_ll link{};
  link.sll_family = AF_PACKET;
  link.sll_ifindex = static_cast<int>(if_nametoindex(argv[1]));
  const int packets = socket(AF_PACKET, SOCK_RAW, 0);
  if (packets < 0 || bind(packets, reinterpret_cast<const sockaddr*>(&link), sizeof link) != 0) {
    std::perror("packet socket");
    return 1;
  }
  for (int i = 2; i < argc; ++i) {
    const std::string hex = argv[i];
    std::string frame;
    for (std::size_t at = 0; at + 1 < hex.size(); at += 2)
      frame += static_cast<char>(std::stoi(hex.substr(at, 2), nullptr, 16));
    if (send(packets, frame.data(), frame.size(), 0) != static_cast<ssize_t>(frame.size())) {
      std::perror("send");
      return 1;
    }
  }
  return 0;
}
