// AddressPool: which addresses of one network's subnet are in use; AddressPool6: the same of IPv6.
//
// Values. Host numbers (subnet.h) and addresses stand for each other. Errors say what is wrong
// with an address in Docker's words.
#pragma once

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "api/networks/subnet.h"
#include "api/networks/subnet6.h"
#include "vmm/base/result.h"

namespace engine {

/// `S`: Subnet or Subnet6.
template <typename S>
class BasicAddressPool {
 public:
  /// `ip_range`: addresses are given out of it; empty: of all of the subnet. `gateway`: the host's
  /// own; empty: the first that could be given out. kInvalidArgument: one of them, or of
  /// `reserved`, is none of the subnet's.
  static base::Result<BasicAddressPool> create(const S& subnet, const std::string& ip_range,
                                               const std::string& gateway,
                                               const std::vector<std::string>& reserved);

  const S& subnet() const { return subnet_; }
  std::string gateway() const { return subnet_.address(gateway_); }

  /// The lowest free one. kResourceExhausted: there is none.
  base::Result<std::string> take();
  /// This one, in the range or not. kAlreadyExists: it is in use; kInvalidArgument: it is none of
  /// the subnet's.
  base::Result<void> take(const std::string& address);
  /// One that was taken.
  void give_back(const std::string& address);

 private:
  using Host = typename S::Host;

  BasicAddressPool() = default;
  /// kInvalidArgument if it is none of the subnet's. `what`: how an Error calls it.
  base::Result<Host> host_of(const std::string& address, std::string_view what) const;

  S subnet_;
  Host first_ = 0, last_ = 0;  // hosts that take() gives out
  Host gateway_ = 0;
  std::set<Host> used_;
};

using AddressPool = BasicAddressPool<Subnet>;
using AddressPool6 = BasicAddressPool<Subnet6>;

template <typename S>
base::Result<BasicAddressPool<S>> BasicAddressPool<S>::create(
    const S& subnet, const std::string& ip_range, const std::string& gateway,
    const std::vector<std::string>& reserved) {
  BasicAddressPool pool;
  pool.subnet_ = subnet;
  pool.first_ = 1;
  pool.last_ = subnet.last_host();
  if (!ip_range.empty()) {
    const auto range = S::parse_range(ip_range);
    if (!range || range->prefix_length < subnet.prefix_length || !range->overlaps(subnet))
      return base::Error{base::Code::kInvalidArgument, "invalid ip-range " + ip_range +
                                                           ": it is not a part of the subnet " +
                                                           subnet.to_string()};
    const Host begin = range->network - subnet.network;
    pool.first_ = std::max(begin, pool.first_);
    pool.last_ = std::min(begin + S::last_of(range->prefix_length), pool.last_);
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

template <typename S>
base::Result<typename S::Host> BasicAddressPool<S>::host_of(const std::string& address,
                                                            std::string_view what) const {
  if (const auto host = subnet_.host(address)) return *host;
  return base::Error{base::Code::kInvalidArgument, "invalid " + std::string(what) + " " + address +
                                                       ": it is not an address of the subnet " +
                                                       subnet_.to_string()};
}

template <typename S>
base::Result<std::string> BasicAddressPool<S>::take() {
  // The used ones are in order: the first gap is the lowest free address.
  Host host = first_;
  for (auto used = used_.lower_bound(first_); used != used_.end() && *used == host; ++used) ++host;
  if (host > last_)
    return base::Error{base::Code::kResourceExhausted,
                       std::string("no available ") + S::kFamily + " addresses"};
  used_.insert(host);
  return subnet_.address(host);
}

template <typename S>
base::Result<void> BasicAddressPool<S>::take(const std::string& address) {
  const auto host = host_of(address, "address");
  if (!host) return host.error();
  if (!used_.insert(*host).second)
    return base::Error{base::Code::kAlreadyExists, "Address already in use"};
  return {};
}

template <typename S>
void BasicAddressPool<S>::give_back(const std::string& address) {
  if (const auto host = subnet_.host(address)) used_.erase(*host);
}

}  // namespace engine
