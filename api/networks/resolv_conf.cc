#include "api/networks/resolv_conf.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>

namespace engine {

namespace {

/// Docker's, where the host has none that could be asked.
const std::vector<std::string> kPublicServers{"8.8.8.8", "8.8.4.4"};

std::string read_text(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void append_line(std::string& out, const char* keyword, const std::vector<std::string>& words) {
  if (words.empty()) return;
  out += keyword;
  for (const std::string& word : words) out += " " + word;
  out += "\n";
}

}  // namespace

ResolverSettings parse_resolv_conf(std::string_view text) {
  ResolverSettings settings;
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line.substr(0, line.find_first_of("#;")));
    std::string keyword;
    words >> keyword;
    const std::vector<std::string> values{std::istream_iterator<std::string>(words), {}};
    if (keyword == "nameserver" && !values.empty()) settings.servers.push_back(values.front());
    if (keyword == "search" || keyword == "domain") settings.search = values;
    if (keyword == "options")
      settings.options.insert(settings.options.end(), values.begin(), values.end());
  }
  return settings;
}

std::vector<std::string> reachable_servers(const std::vector<std::string>& servers) {
  std::vector<std::string> reachable;
  for (const std::string& server : servers)
    if (!server.starts_with("127.") && server.find(':') == std::string::npos)
      reachable.push_back(server);
  return reachable;
}

ResolverSettings host_resolver_settings() {
  ResolverSettings settings = parse_resolv_conf(read_text("/etc/resolv.conf"));
  settings.servers = reachable_servers(settings.servers);
  if (settings.servers.empty()) {
    const auto behind_stub = parse_resolv_conf(read_text("/run/systemd/resolve/resolv.conf"));
    settings.servers = reachable_servers(behind_stub.servers);
  }
  if (settings.servers.empty()) settings.servers = kPublicServers;
  return settings;
}

std::vector<std::string> host_name_servers() {
  std::vector<std::string> servers = parse_resolv_conf(read_text("/etc/resolv.conf")).servers;
  return servers.empty() ? kPublicServers : servers;
}

void ask_internal_resolver(ResolverSettings& settings) {
  settings.servers = {"127.0.0.11"};
  const bool says_dots =
      std::any_of(settings.options.begin(), settings.options.end(),
                  [](const std::string& option) { return option.starts_with("ndots:"); });
  if (!says_dots) settings.options.push_back("ndots:0");
}

std::string to_text(const ResolverSettings& settings) {
  std::string out;
  for (const std::string& server : settings.servers) out += "nameserver " + server + "\n";
  append_line(out, "search", settings.search);
  append_line(out, "options", settings.options);
  return out;
}

}  // namespace engine
