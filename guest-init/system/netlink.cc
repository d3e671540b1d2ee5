#include "guest-init/system/netlink.h"

#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

namespace guest_init {

void NetlinkBatch::append(const void* data, std::size_t size) {
  const auto* first = static_cast<const std::byte*>(data);
  bytes_.insert(bytes_.end(), first, first + size);
  bytes_.resize(NLMSG_ALIGN(bytes_.size()));
}

void NetlinkBatch::finish_length() {
  const auto length = static_cast<std::uint32_t>(bytes_.size() - current_);
  std::memcpy(bytes_.data() + current_, &length, sizeof length);  // nlmsg_len comes first
}

void NetlinkBatch::begin_raw(std::uint16_t type, std::uint16_t flags, const void* body,
                             std::size_t size, std::string what) {
  current_ = bytes_.size();
  nlmsghdr header{};
  header.nlmsg_type = type;
  header.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
  header.nlmsg_seq = static_cast<std::uint32_t>(requests_.size());
  append(&header, sizeof header);
  append(body, size);
  finish_length();
  requests_.push_back(std::move(what));
}

void NetlinkBatch::attribute_bytes(std::uint16_t type, std::span<const std::byte> value) {
  rtattr header{};
  header.rta_type = type;
  header.rta_len = static_cast<std::uint16_t>(RTA_LENGTH(value.size()));
  append(&header, sizeof header);
  append(value.data(), value.size());
  finish_length();
}

base::Result<NetlinkSocket> NetlinkSocket::open() {
  NetlinkSocket result;
  result.fd_.reset(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!result.fd_) return base::errno_error("netlink socket");
  return result;
}

base::Result<void> NetlinkSocket::carry_out(const NetlinkBatch& batch) const {
  if (send(fd_.get(), batch.bytes().data(), batch.bytes().size(), 0) < 0)
    return base::errno_error("netlink send");
  base::Result<void> outcome;
  std::size_t answered = 0;
  while (answered < batch.requests().size()) {
    alignas(nlmsghdr) std::array<std::byte, 8192> answers;
    const ssize_t size = recv(fd_.get(), answers.data(), answers.size(), 0);
    if (size < 0) return base::errno_error("netlink receive");
    auto rest = static_cast<std::size_t>(size);
    for (auto* header = reinterpret_cast<const nlmsghdr*>(answers.data()); NLMSG_OK(header, rest);
         header = NLMSG_NEXT(header, rest)) {
      if (header->nlmsg_type != NLMSG_ERROR) continue;
      ++answered;
      nlmsgerr error{};
      std::memcpy(&error, NLMSG_DATA(header), sizeof error);
      if (error.error != 0 && outcome && header->nlmsg_seq < batch.requests().size())
        outcome = base::errno_error(batch.requests()[header->nlmsg_seq], -error.error);
    }
  }
  return outcome;
}

}  // namespace guest_init
