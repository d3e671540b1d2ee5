#include "api/engine/attachments/linked.h"

#include <algorithm>
#include <charconv>

#include "api/engine/attachments/places.h"
#include "api/engine/container/machine_spec.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr std::size_t kMostVariables = 4096;

struct Port {
  unsigned number = 0;
  std::string protocol;
};

/// Lowest first, TCP before others.
std::vector<Port> exposed_ports(const Container& container) {
  std::vector<Port> ports;
  for (const std::string& text : container.settings.exposed_ports) {
    Port port;
    const std::size_t slash = text.find('/');
    std::from_chars(text.data(), text.data() + std::min(slash, text.size()), port.number);
    port.protocol = slash == std::string::npos ? "tcp" : text.substr(slash + 1);
    ports.push_back(std::move(port));
  }
  std::ranges::sort(ports, [](const Port& a, const Port& b) {
    if (a.number != b.number) return a.number < b.number;
    return a.protocol == "tcp" && b.protocol != "tcp";
  });
  return ports;
}

std::string as_variable(std::string text) {
  for (char& c : text) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    if (c == '-') c = '_';
  }
  return text;
}

void add_variables(const Container& container, const Link& link, const Container& other,
                   const std::string& address, std::vector<std::string>& variables) {
  const std::string prefix = as_variable(link.alias);
  const std::vector<Port> ports = exposed_ports(other);
  const auto url_of = [&](const Port& port) {
    return port.protocol + "://" + address + ":" + std::to_string(port.number);
  };
  if (!ports.empty()) variables.push_back(prefix + "_PORT=" + url_of(ports.front()));
  for (const Port& port : ports) {
    const std::string name =
        prefix + "_PORT_" + std::to_string(port.number) + "_" + as_variable(port.protocol);
    variables.push_back(name + "=" + url_of(port));
    variables.push_back(name + "_ADDR=" + address);
    variables.push_back(name + "_PORT=" + std::to_string(port.number));
    variables.push_back(name + "_PROTO=" + port.protocol);
  }
  variables.push_back(prefix + "_NAME=/" + container.name + "/" + link.alias);
  for (const std::string& variable : other.settings.process.env)
    if (variable.find('=') != std::string::npos && !variable.starts_with("PATH=") &&
        !variable.starts_with("HOME="))
      variables.push_back(prefix + "_ENV_" + variable);
}

std::string hosts_line(const Link& link, const Container& other, const std::string& address) {
  std::string line = address + "\t" + link.alias + " " + hostname_of(other);
  if (link.alias != other.name) line += " " + other.name;
  return line;
}

}  // namespace

bool has_links(const Container& container) {
  const Naming& naming = container.settings.naming;
  return !naming.links.empty() && !is_user_defined(naming.network);
}

Result<LinkedNames> linked_names(const Container& container, const FindLinked& find) {
  LinkedNames names;
  if (!has_links(container)) return names;
  for (const Link& link : container.settings.naming.links) {
    const auto other = find(link.container);
    if (!other || (*other)->id != link.container) continue;
    if (!(*other)->state.running())
      return Error{Code::kInternal, "Cannot link to a non running container: /" + (*other)->name +
                                        " AS /" + container.name + "/" + link.alias};
    const Endpoint* const place = place_on(**other, kDefaultNetwork);
    if (place == nullptr)
      return Error{Code::kInternal, "Cannot link to /" + (*other)->name +
                                        ", as it does not belong to the default network"};
    names.hosts.push_back(hosts_line(link, **other, place->address));
    add_variables(container, link, **other, place->address, names.variables);
    if (names.variables.size() > kMostVariables)
      return Error{Code::kInvalidArgument, "the container's links would give it more than " +
                                               std::to_string(kMostVariables) + " variables"};
  }
  return names;
}

}  // namespace engine
