// AddressPool: which addresses of one network's subnet are in use.
//
// A value. Host numbers (subnet.h) and addresses stand for each other. Errors say what is wrong
// with an address in Docker's words.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "api/networks/subnet.h"
#include "vmm/base/result.h"

namespace engine {

class AddressPool {
 public:
  /// `ip_range`: addresses are given out of it; empty: of all of the subnet. `gateway`: the host's
  /// own; empty: the first that could be given out. kInvalidArgument: one of them, or of
  /// `reserved`, is none of the subnet's.
  static base::Result<AddressPool> create(const Subnet& subnet, const std::string& ip_range,
                                          const std::string& gateway,
                                          const std::vector<std::string>& reserved);

  const Subnet& subnet() const { return subnet_; }
  std::string gateway() const { return subnet_.address(gateway_); }

  /// The lowest free one. kResourceExhausted: there is none.
  base::Result<std::string> take();
  /// This one, in the range or not. kAlreadyExists: it is in use; kInvalidArgument: it is none of
  /// the subnet's.
  base::Result<void> take(const std::string& address);
  /// One that was taken.
  void give_back(const std::string& address);

 private:
  AddressPool() = default;
  /// kInvalidArgument if it is none of the subnet's. `what`: how an Error calls it.
  base::Result<std::uint32_t> host_of(const std::string& address, std::string_view what) const;

  Subnet subnet_;
  std::uint32_t first_ = 0, last_ = 0;  // hosts that take() gives out
  std::uint32_t gateway_ = 0;
  std::set<std::uint32_t> used_;
};

}  // namespace engine
