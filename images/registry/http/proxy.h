// Proxies: the HTTP proxies through which web servers are reached, as dockerd has them:
// HTTP_PROXY, HTTPS_PROXY and NO_PROXY by the rules of Go's httpproxy (x/net/http/httpproxy).
//
// A proxy is an http:// URL; other kinds (https, socks5) are refused. https goes through it in a
// tunnel (CONNECT), so it sees no more than the host's name. Loopback is never reached by proxy.
// Threads: immutable.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "images/registry/documents/url.h"
#include "images/registry/http/cidr.h"
#include "vmm/base/result.h"

namespace registry {

/// The values of the three variables; empty: none.
struct ProxyOptions {
  std::string http;   // for http:// URLs
  std::string https;  // for https:// URLs
  std::string none;  // comma-separated hosts, domains, addresses, CIDRs, each with :PORT or without
};

/// HTTP_PROXY, HTTPS_PROXY and NO_PROXY, or their names in small letters.
ProxyOptions proxies_from_environment();

struct Proxy {
  Url url;
  std::string authorization;  // value of Proxy-Authorization; empty: none
  std::string text;           // for `docker info`: without user and password
};

class Proxies {
 public:
  Proxies() = default;
  /// kInvalidArgument for a text that is no proxy's URL, or a proxy of another kind.
  static base::Result<Proxies> make(const ProxyOptions& options);

  /// The proxy to use for `url`; nullptr: none. Valid as long as this object.
  const Proxy* proxy_for(const Url& url) const;

  // For `docker info`.
  std::string http_text() const { return http_ ? http_->text : ""; }
  std::string https_text() const { return https_ ? https_->text : ""; }
  const std::string& none_text() const { return none_; }

 private:
  struct Exception {
    std::string host;  // a name or address
    bool itself;       // the host of this name
    bool below;        // hosts below it in the DNS
    std::string port;  // empty: any
  };
  bool is_exception(const Url& url) const;

  std::optional<Proxy> http_;
  std::optional<Proxy> https_;
  std::string none_;
  bool all_excepted_ = false;
  std::vector<Cidr> excepted_networks_;
  std::vector<Exception> exceptions_;
};

}  // namespace registry
