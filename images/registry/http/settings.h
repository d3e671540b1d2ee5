// Settings: where registries are and how far they are trusted, by the rules of Docker's daemon.
//
// They are `--insecure-registry` (host, host:port or CIDR; loopback is always insecure),
// `--registry-mirror`, certs.d/HOST[:PORT]/ (tls.h) and the proxies (proxy.h).
// Threads: immutable; endpoints() may ask the resolver.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "images/registry/documents/url.h"
#include "images/registry/http/cidr.h"
#include "images/registry/http/proxy.h"
#include "images/registry/http/tls.h"
#include "vmm/base/result.h"

namespace registry {

inline constexpr std::string_view kHubDomain = "docker.io";
inline constexpr std::string_view kHubIndexHost = "index.docker.io";
inline constexpr std::string_view kHubIndexAddress = "https://index.docker.io/v1/";

struct SettingsOptions {
  std::vector<std::string> insecure;
  std::vector<std::string> mirrors;
  std::filesystem::path certificates = "/etc/docker/certs.d";
  ProxyOptions proxies = {};
  std::string hub_url = "https://registry-1.docker.io";  // the registry of docker.io
};

/// One way to reach a registry.
struct Endpoint {
  Url base;  // target "/"
  std::shared_ptr<const TlsContext> tls;
  bool is_mirror = false;
};

class Settings {
 public:
  /// kInvalidArgument, in Docker's words, for what is no registry or mirror.
  static base::Result<Settings> make(SettingsOptions options);

  /// The ways to the registry of this domain, best first: mirrors are for pulls only; an insecure
  /// one is tried with TLS, then without.
  base::Result<std::vector<Endpoint>> endpoints(const std::string& domain, bool for_pull) const;
  bool is_insecure(const std::string& domain) const;
  const Proxies& proxies() const { return proxies_; }

  // For `docker info`.
  const std::vector<std::string>& insecure_hosts() const { return insecure_hosts_; }
  std::vector<std::string> insecure_cidrs() const;
  const std::vector<std::string>& mirrors() const { return mirrors_; }

 private:
  std::vector<std::string> insecure_hosts_;
  std::vector<Cidr> insecure_cidrs_;
  std::vector<std::string> mirrors_;  // with a slash at the end
  std::filesystem::path certificates_;
  Proxies proxies_;
  std::string hub_url_;
};

/// The domain that a server address means: "https://index.docker.io/v1/", "https://host:5000",
/// "host:5000".
std::string domain_of(std::string_view server_address);

}  // namespace registry
