#include "api/engine/settings/networking/port_settings.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include "api/engine/state/json_fields.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;

namespace {

Error bad_specification(const std::string& text) {
  return Error{Code::kInvalidArgument,
               "invalid port specification: \"" + text.substr(0, 64) + "\""};
}

/// 1 to 65535, or 0 if it is no such number.
std::uint16_t port_number(std::string_view digits) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  return error == std::errc() && end == digits.data() + digits.size() ? port : std::uint16_t{0};
}

/// "8080", "8080-8090" or nothing.
Result<void> parse_host_port(const std::string& text, PortBinding& binding) {
  if (text.empty() || text == "0") return {};
  const std::size_t dash = text.find('-');
  binding.first_host_port = port_number(std::string_view(text).substr(0, dash));
  binding.last_host_port = dash == std::string::npos
                               ? binding.first_host_port
                               : port_number(std::string_view(text).substr(dash + 1));
  if (binding.first_host_port == 0 || binding.last_host_port < binding.first_host_port)
    return bad_specification(text);
  return {};
}

Result<void> parse_host_address(const std::string& text, PortBinding& binding) {
  in6_addr raw{};
  if (::inet_pton(AF_INET6, text.c_str(), &raw) == 1)
    return Error{Code::kNotSupported, "publishing at the IPv6 address " + text.substr(0, 64) +
                                          " is not supported: networks have IPv4 addresses here"};
  if (!text.empty() && ::inet_pton(AF_INET, text.c_str(), &raw) != 1)
    return Error{Code::kInvalidArgument, "invalid IP address: " + text.substr(0, 64)};
  binding.host_address = text;
  return {};
}

Result<PortBinding> parse_binding(const ContainerPort& port, const json& value) {
  if (!value.is_object())
    return Error{Code::kInvalidArgument,
                 "invalid JSON: HostConfig.PortBindings must be an object of arrays of objects"};
  PortBinding binding{.port = port, .host_address = {}};
  const auto address = text_field(value, "HostIp");
  if (!address) return address.error();
  const auto host_port = text_field(value, "HostPort");
  if (!host_port) return host_port.error();
  RETURN_IF_ERROR(parse_host_address(*address, binding));
  RETURN_IF_ERROR(parse_host_port(*host_port, binding));
  return binding;
}

}  // namespace

std::string to_string(const ContainerPort& port) {
  return std::to_string(port.port) + "/" + std::string(to_string(port.protocol));
}

Result<ContainerPort> parse_container_port(const std::string& text) {
  const std::size_t slash = text.find('/');
  const std::string digits = text.substr(0, slash);
  const std::string protocol = slash == std::string::npos ? "tcp" : text.substr(slash + 1);
  const std::uint16_t port = port_number(digits);
  if (port == 0) return bad_specification(digits);
  if (protocol == "tcp") return ContainerPort{Protocol::kTcp, port};
  if (protocol == "udp") return ContainerPort{Protocol::kUdp, port};
  if (protocol == "sctp")
    return Error{Code::kNotSupported, "publishing a port of SCTP is not supported"};
  return Error{Code::kInvalidArgument, "invalid proto: " + protocol.substr(0, 64)};
}

Result<PortSettings> parse_ports(const json& host_config) {
  PortSettings ports{.bindings = {}, .publish_all = flag_in(host_config, "PublishAllPorts")};
  for (const auto& [key, values] : host_config.at("PortBindings").items()) {
    const auto port = parse_container_port(key);
    if (!port) return port.error();
    // A port without a list is at any port of the host, as one with an empty entry is.
    if (values.is_null() || (values.is_array() && values.empty())) {
      ports.bindings.push_back({.port = *port, .host_address = {}});
      continue;
    }
    if (!values.is_array())
      return Error{Code::kInvalidArgument,
                   "invalid JSON: HostConfig.PortBindings must be an object of arrays"};
    for (const json& value : values) {
      auto binding = parse_binding(*port, value);
      if (!binding) return std::move(binding).error();
      ports.bindings.push_back(*std::move(binding));
    }
  }
  std::stable_sort(ports.bindings.begin(), ports.bindings.end(),
                   [](const auto& a, const auto& b) { return a.port < b.port; });
  return ports;
}

Result<void> check_port_count(const PortSettings& ports, const std::set<std::string>& exposed) {
  if (exposed.size() <= kMostPorts && bindings_for(ports, exposed).size() <= kMostPorts) return {};
  return Error{Code::kInvalidArgument, "a container exposes and publishes at most " +
                                           std::to_string(kMostPorts) + " ports here"};
}

std::vector<PortBinding> bindings_for(const PortSettings& ports,
                                      const std::set<std::string>& exposed) {
  std::vector<PortBinding> bindings = ports.bindings;
  if (!ports.publish_all) return bindings;
  std::set<ContainerPort> bound;
  for (const PortBinding& binding : bindings) bound.insert(binding.port);
  for (const std::string& text : exposed) {
    const auto port = parse_container_port(text);
    if (port && bound.insert(*port).second) bindings.push_back({.port = *port, .host_address = {}});
  }
  return bindings;
}

}  // namespace engine
