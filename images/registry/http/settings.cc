#include "images/registry/http/settings.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>

#include "vmm/base/scope_exit.h"

namespace registry {

using base::Code;
using base::Error;
using base::Result;

namespace {

Error invalid(std::string message) { return {Code::kInvalidArgument, std::move(message)}; }

/// "host" of "host:port" and "[address]:port".
std::string host_of(const std::string& domain) {
  const auto url = Url::parse("https://" + domain);
  return url ? url->host : domain;
}

/// The addresses of a name, as text; none if it cannot be resolved.
std::vector<std::string> addresses_of(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) return {};
  const base::ScopeExit release([&] { ::freeaddrinfo(found); });
  std::vector<std::string> addresses;
  for (const addrinfo* address = found; address; address = address->ai_next) {
    std::array<char, NI_MAXHOST> text{};
    if (::getnameinfo(address->ai_addr, address->ai_addrlen, text.data(), text.size(), nullptr, 0,
                      NI_NUMERICHOST) == 0)
      addresses.emplace_back(text.data());
  }
  return addresses;
}

Result<std::string> valid_mirror(const std::string& text) {
  const auto url = Url::parse(text);
  if (!url) {
    const std::size_t colon = text.find("://");
    if (colon != std::string::npos && !text.starts_with("http"))
      return invalid("invalid mirror: unsupported scheme \"" + text.substr(0, colon) + "\" in \"" +
                     text + "\"");
    return invalid("invalid mirror: \"" + text + "\" is not a valid URI");
  }
  if (url->target != "/" || text.find_first_of("?#") != std::string::npos)
    return invalid("invalid mirror: path, query, or fragment at end of the URI \"" + text + "\"");
  return url->text();
}

}  // namespace

Result<Settings> Settings::make(SettingsOptions options) {
  Settings settings;
  settings.certificates_ = std::move(options.certificates);
  settings.hub_url_ = std::move(options.hub_url);
  for (const char* loopback : {"::1/128", "127.0.0.0/8"})
    settings.insecure_cidrs_.push_back(*Cidr::parse(loopback));
  for (std::string& text : options.insecure) {
    for (const std::string_view scheme : {"http://", "https://"})
      if (text.starts_with(scheme)) text.erase(0, scheme.size());
    if (const auto cidr = Cidr::parse(text)) {
      settings.insecure_cidrs_.push_back(*cidr);
      continue;
    }
    const auto url = Url::parse("http://" + text);
    if (!url || url->target != "/" || text.ends_with('/'))
      return invalid("insecure registry " + text + " is not valid: invalid host \"" + text + "\"");
    settings.insecure_hosts_.push_back(std::move(text));
  }
  auto proxies = Proxies::make(options.proxies);
  if (!proxies) return std::move(proxies).error();
  settings.proxies_ = *std::move(proxies);
  for (const std::string& text : options.mirrors) {
    auto mirror = valid_mirror(text);
    if (!mirror) return std::move(mirror).error();
    settings.mirrors_.push_back(*std::move(mirror));
  }
  return settings;
}

bool Settings::is_insecure(const std::string& domain) const {
  if (std::find(insecure_hosts_.begin(), insecure_hosts_.end(), domain) != insecure_hosts_.end())
    return true;
  if (domain == kHubDomain) return false;
  const std::vector<std::string> addresses = addresses_of(host_of(domain));
  return std::any_of(addresses.begin(), addresses.end(), [&](const std::string& address) {
    return std::any_of(insecure_cidrs_.begin(), insecure_cidrs_.end(),
                       [&](const Cidr& cidr) { return cidr.contains(address); });
  });
}

Result<std::vector<Endpoint>> Settings::endpoints(const std::string& domain, bool for_pull) const {
  std::vector<Endpoint> endpoints;
  const auto add = [&](const std::string& text, const std::string& host, bool mirror,
                       bool insecure) -> Result<void> {
    auto url = Url::parse(text);
    if (!url) return std::move(url).error();
    auto tls = insecure ? TlsContext::unverified() : TlsContext::verifying(certificates_ / host);
    if (!tls) return std::move(tls).error();
    endpoints.push_back({*std::move(url), *std::move(tls), mirror});
    return {};
  };
  if (domain == kHubDomain) {
    if (for_pull)
      for (const std::string& mirror : mirrors_) {
        const std::string host = Url::parse(mirror)->authority();
        RETURN_IF_ERROR(add(mirror, host, true, is_insecure(host)));
      }
    const auto hub = Url::parse(hub_url_);
    if (!hub) return hub.error();
    RETURN_IF_ERROR(add(hub_url_, hub->authority(), false, false));
    return endpoints;
  }
  if (domain.starts_with('.') || domain.find('/') != std::string::npos)
    return invalid("invalid registry host \"" + domain.substr(0, 128) + "\"");
  const bool insecure = is_insecure(domain);
  RETURN_IF_ERROR(add("https://" + domain, domain, false, insecure));
  if (insecure) RETURN_IF_ERROR(add("http://" + domain, domain, false, true));
  return endpoints;
}

std::vector<std::string> Settings::insecure_cidrs() const {
  std::vector<std::string> texts;
  for (const Cidr& cidr : insecure_cidrs_) texts.push_back(cidr.text());
  return texts;
}

std::string domain_of(std::string_view address) {
  for (const std::string_view scheme : {"http://", "https://"})
    if (address.starts_with(scheme)) address.remove_prefix(scheme.size());
  const std::string host(address.substr(0, address.find('/')));
  const bool hub = host.empty() || host == "index.docker.io" || host == "registry-1.docker.io";
  return hub ? std::string(kHubDomain) : host;
}

}  // namespace registry
