// Client-controlled text: the body of a request for a network.
#include <cstdint>
#include <string_view>

#include "api/engine/networks/network_request.h"
#include "api/networks/address_pool.h"

namespace {

void check_pool6(const engine::NetworkSpec6& spec) {
  const std::string subnet = spec.subnet.empty() ? "fd00:1::/64" : spec.subnet;
  auto pool = engine::AddressPool6::create(*engine::Subnet6::parse(subnet), spec.ip_range,
                                           spec.gateway, spec.reserved);
  if (!pool) return;
  const auto address = pool->take();
  if (address && !pool->subnet().host(*address)) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto body = nlohmann::json::parse(text, nullptr, false);
  if (body.is_discarded()) return 0;
  const auto request = engine::parse_network_request(body);
  if (!request) return 0;
  const engine::NetworkSpec& spec = request->spec;
  if (spec.name.empty() || spec.bridge.size() > 15) __builtin_trap();
  // What is kept is read again at the next start.
  if (!engine::parse_network_request(request->document)) __builtin_trap();
  if (spec.ipv6) check_pool6(*spec.ipv6);
  const std::string subnet = spec.subnet.empty() ? "172.18.0.0/16" : spec.subnet;
  auto pool = engine::AddressPool::create(*engine::Subnet::parse(subnet), spec.ip_range,
                                          spec.gateway, spec.reserved);
  if (!pool) return 0;
  const auto address = pool->take();
  if (address && !pool->subnet().host(*address)) __builtin_trap();
  return 0;
}
