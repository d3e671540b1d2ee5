#include "api/engine/networks/ipam_request.h"

#include <arpa/inet.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "api/engine/state/json_fields.h"
#include "api/networks/subnet.h"
#include "api/networks/subnet6.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;

namespace {

/// One entry of Config, as it was said.
struct Pool {
  std::string subnet;
  std::string ip_range;
  std::string gateway;
  std::map<std::string, std::string> auxiliary;

  bool six() const { return subnet.find(':') != std::string::npos; }
};

Error invalid(std::string message) { return Error{Code::kInvalidArgument, std::move(message)}; }

/// All that is wrong with addresses is said at once, a line each.
class Complaints {
 public:
  void add(const std::string& line) {
    if (!line.empty()) lines_ += "\n" + line.substr(0, 256);
  }
  Result<void> outcome() const {
    if (lines_.empty()) return {};
    return invalid("invalid network config:" + lines_);
  }

 private:
  std::string lines_;
};

template <typename S>
constexpr bool kIsSix = std::is_same_v<S, Subnet6>;

template <typename S>
std::string wrong_family() {
  return std::string("parent subnet is an ") + S::kFamily + " block";
}

bool is_address(int family, const std::string& text) {
  in6_addr raw{};
  return ::inet_pton(family, text.c_str(), &raw) == 1;
}

/// What is wrong with an address of the subnet; empty: nothing.
template <typename S>
std::string wrong_address(const std::string& text, const S& subnet) {
  if (is_address(kIsSix<S> ? AF_INET : AF_INET6, text)) return wrong_family<S>();
  if (!is_address(kIsSix<S> ? AF_INET6 : AF_INET, text)) return "invalid address";
  const auto alone = S::parse_range(text + (kIsSix<S> ? "/128" : "/32"));
  if (alone && alone->overlaps(subnet)) return {};
  return "parent subnet " + subnet.to_string() + " doesn't contain this address";
}

/// As to_string() writes it, but with the bits that are a host's.
template <typename S>
std::string written_alike(const std::string& text) {
  if constexpr (kIsSix<S>) {
    const std::size_t slash = text.find('/');
    const auto address = canonical_address6(text.substr(0, slash));
    if (address) return *address + text.substr(slash);
  }
  return text;
}

template <typename S>
std::string wrong_range(const std::string& text, const S& subnet) {
  const std::string begin = "invalid ip-range " + text;
  const auto range = S::parse_range(text);
  if (!range) {
    const bool other =
        kIsSix<S> ? Subnet::parse_range(text).has_value() : Subnet6::parse_range(text).has_value();
    return begin + ": " + (other ? wrong_family<S>() : "invalid CIDR block notation");
  }
  if (range->prefix_length < subnet.prefix_length)
    return begin + ": CIDR block is bigger than its parent subnet " + subnet.to_string();
  if (range->to_string() != written_alike<S>(text))
    return begin + ": it should be " + range->to_string();
  if (!range->overlaps(subnet))
    return begin + ": parent subnet " + subnet.to_string() + " doesn't contain ip-range";
  return {};
}

template <typename S>
void check_pool(const Pool& pool, Complaints& wrong) {
  const auto subnet = S::parse_range(pool.subnet);
  if (!subnet) return wrong.add("invalid subnet " + pool.subnet + ": invalid CIDR block notation");
  if (subnet->to_string() != written_alike<S>(pool.subnet))
    wrong.add("invalid subnet " + pool.subnet + ": it should be " + subnet->to_string());
  if (!pool.ip_range.empty()) wrong.add(wrong_range(pool.ip_range, *subnet));
  const auto check = [&](const std::string& what, const std::string& address) {
    const std::string why = address.empty() ? "" : wrong_address(address, *subnet);
    if (!why.empty()) wrong.add("invalid " + what + ": " + why);
  };
  check("gateway " + pool.gateway, pool.gateway);
  for (const auto& [name, address] : pool.auxiliary) check("auxiliary address " + name, address);
}

Result<Pool> read_pool(const json& config) {
  if (!config.is_object()) return invalid("invalid JSON: IPAM.Config must be an array of objects");
  auto subnet = text_field(config, "Subnet");
  auto range = text_field(config, "IPRange");
  auto gateway = text_field(config, "Gateway");
  auto auxiliary = texts_field(config, "AuxiliaryAddresses");
  for (const auto* parsed : {&subnet, &range, &gateway})
    if (!*parsed) return parsed->error();
  if (!auxiliary) return auxiliary.error();
  return Pool{*std::move(subnet), *std::move(range), *std::move(gateway), *std::move(auxiliary)};
}

std::vector<std::string> reserved_in(const Pool& pool) {
  std::vector<std::string> reserved;
  for (const auto& [name, address] : pool.auxiliary) reserved.push_back(address);
  return reserved;
}

Result<void> use_pool(const Pool& pool, NetworkSpec& spec) {
  if (!Subnet::parse(pool.subnet))
    return invalid("invalid subnet " + pool.subnet + ": a network has 2 to 2^24 addresses here");
  spec.subnet = pool.subnet;
  spec.ip_range = pool.ip_range;
  spec.gateway = pool.gateway;
  spec.reserved = reserved_in(pool);
  return {};
}

Result<void> use_pool6(const Pool& pool, NetworkSpec6& spec) {
  const auto subnet = Subnet6::parse(pool.subnet);
  if (!subnet)
    return invalid("invalid subnet " + pool.subnet +
                   ": a subnet of IPv6 has a prefix of 8 to 126 bits here, and addresses that a "
                   "machine can have");
  spec = {.subnet = subnet->to_string(),
          .ip_range = pool.ip_range,
          .gateway = pool.gateway,
          .reserved = reserved_in(pool)};
  return {};
}

Result<void> use_pools(const std::vector<Pool>& pools, NetworkRequest& request) {
  std::optional<NetworkSpec6>& ipv6 = request.spec.ipv6;
  const auto several = [&](bool six) {
    return std::count_if(pools.begin(), pools.end(),
                         [&](const Pool& pool) { return pool.six() == six; }) > 1;
  };
  if (several(false) || (ipv6 && several(true)))
    return Error{Code::kNotSupported,
                 "IPAM.Config is not supported with several subnets of one kind: a network has one "
                 "of IPv4 and one of IPv6 here"};
  for (const Pool& pool : pools) {
    if (!pool.six()) {
      RETURN_IF_ERROR(use_pool(pool, request.spec));
    } else if (ipv6) {
      RETURN_IF_ERROR(use_pool6(pool, *ipv6));
    } else {
      request.warning =
          "the subnet " + pool.subnet.substr(0, 64) + " is not used: EnableIPv6 is not set";
    }
  }
  return {};
}

Result<std::vector<Pool>> read_pools(const json& ipam) {
  std::vector<Pool> pools;
  const auto config = ipam.find("Config");
  if (config == ipam.end() || config->is_null() || config->empty()) return pools;
  if (!config->is_array()) return invalid("invalid JSON: IPAM.Config must be an array of objects");
  for (const json& entry : *config) {
    auto pool = read_pool(entry);
    if (!pool) return std::move(pool).error();
    pools.push_back(*std::move(pool));
  }
  return pools;
}

}  // namespace

Result<void> parse_ipam(const json& ipam, NetworkRequest& request) {
  const auto driver = text_field(ipam, "Driver");
  if (!driver) return driver.error();
  if (!driver->empty() && *driver != "default")
    return Error{Code::kNotFound, "plugin \"" + driver->substr(0, 128) + "\" not found"};
  const auto options = texts_field(ipam, "Options");
  if (!options) return options.error();
  if (!options->empty())
    return Error{Code::kNotSupported, "IPAM.Options is not supported: the default driver has none"};
  const auto pools = read_pools(ipam);
  if (!pools) return pools.error();
  Complaints wrong;
  for (const Pool& pool : *pools) {
    if (!pool.six()) {
      check_pool<Subnet>(pool, wrong);
    } else if (request.spec.ipv6) {
      check_pool<Subnet6>(pool, wrong);
    }
  }
  RETURN_IF_ERROR(wrong.outcome());
  return use_pools(*pools, request);
}

}  // namespace engine
