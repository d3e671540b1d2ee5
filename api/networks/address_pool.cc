#include "api/networks/address_pool.h"

#include <algorithm>

namespace engine {

using base::Code;
using base::Error;
using base::Result;

Result<AddressPool> AddressPool::create(const Subnet& subnet, const std::string& ip_range,
                                        const std::string& gateway,
                                        const std::vector<std::string>& reserved) {
  AddressPool pool;
  pool.subnet_ = subnet;
  pool.first_ = 1;
  pool.last_ = subnet.last_host();
  if (!ip_range.empty()) {
    const auto range = Subnet::parse_range(ip_range);
    if (!range || range->prefix_length < subnet.prefix_length || !range->overlaps(subnet))
      return Error{Code::kInvalidArgument, "invalid ip-range " + ip_range +
                                               ": it is not a part of the subnet " +
                                               subnet.to_string()};
    const std::uint32_t begin = range->network - subnet.network;
    pool.first_ = std::max(begin, pool.first_);
    pool.last_ = std::min(begin + ~mask_of(range->prefix_length), pool.last_);
  }
  for (const std::string& address : reserved) {
    const auto host = pool.host_of(address, "auxiliary address");
    if (!host) return host.error();
    pool.used_.insert(*host);
  }
  if (gateway.empty()) {
    const auto first = pool.take();
    if (!first) return first.error();
    pool.gateway_ = *subnet.host(*first);
  } else {
    const auto host = pool.host_of(gateway, "gateway");
    if (!host) return host.error();
    pool.gateway_ = *host;
    pool.used_.insert(*host);
  }
  return pool;
}

Result<std::uint32_t> AddressPool::host_of(const std::string& address,
                                           std::string_view what) const {
  if (const auto host = subnet_.host(address)) return *host;
  return Error{Code::kInvalidArgument, "invalid " + std::string(what) + " " + address +
                                           ": it is not an address of the subnet " +
                                           subnet_.to_string()};
}

Result<std::string> AddressPool::take() {
  // The used ones are in order: the first gap is the lowest free address.
  std::uint32_t host = first_;
  for (auto used = used_.lower_bound(first_); used != used_.end() && *used == host; ++used) ++host;
  if (host > last_) return Error{Code::kResourceExhausted, "no available IPv4 addresses"};
  used_.insert(host);
  return subnet_.address(host);
}

Result<void> AddressPool::take(const std::string& address) {
  const auto host = host_of(address, "address");
  if (!host) return host.error();
  if (!used_.insert(*host).second) return Error{Code::kAlreadyExists, "Address already in use"};
  return {};
}

void AddressPool::give_back(const std::string& address) {
  if (const auto host = subnet_.host(address)) used_.erase(*host);
}

}  // namespace engine
