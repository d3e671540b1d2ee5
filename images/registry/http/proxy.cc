#include "images/registry/http/proxy.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "images/store/values/base64.h"
#include "vmm/base/letters.h"

namespace registry {

using base::Code;
using base::Error;
using base::Result;

namespace {

/// The bytes that %XX stand for; what is no such sequence stays.
std::string percent_decode(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    const char* digits = text.data() + i + 1;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(digits, digits + 2, value, 16).ptr == digits + 2) {
      bytes += static_cast<char>(value);
      i += 2;
    } else {
      bytes += text[i];
    }
  }
  return bytes;
}

/// Shows the text only from the last "@" on: before it there may be a password.
Error invalid(std::string_view text) {
  return {Code::kInvalidArgument, "invalid proxy address \"" +
                                      std::string(text.substr(text.rfind('@') + 1)) +
                                      "\": it must be http://HOST:PORT"};
}

Result<std::optional<Proxy>> parse_proxy(std::string_view text) {
  if (text.empty()) return std::optional<Proxy>();
  const std::size_t scheme = text.find("://");
  std::string_view rest = scheme == std::string_view::npos ? text : text.substr(scheme + 3);
  Proxy proxy;
  const std::size_t at = rest.substr(0, rest.find('/')).rfind('@');
  if (at != std::string_view::npos) {
    proxy.authorization = "Basic " + images::to_base64(percent_decode(rest.substr(0, at)));
    rest.remove_prefix(at + 1);
  }
  if (scheme != std::string_view::npos && base::lower_case(text.substr(0, scheme)) != "http")
    return invalid(text);
  auto url = Url::parse("http://" + std::string(rest));
  if (!url) return invalid(text);
  proxy.url = with_target(*url, "/");
  proxy.text = std::string("http://") + (at == std::string_view::npos ? "" : "xxxxx:xxxxx@") +
               proxy.url.authority();
  return std::optional(std::move(proxy));
}

std::string_view trimmed(std::string_view text) {
  while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
  while (text.ends_with(' ') || text.ends_with('\t')) text.remove_suffix(1);
  return text;
}

bool is_loopback(const std::string& host) {
  static const Cidr v4 = *Cidr::parse("127.0.0.0/8");
  static const Cidr v6 = *Cidr::parse("::1/128");
  return host == "localhost" || v4.contains(host) || v6.contains(host);
}

std::string from_environment(const char* name, const char* lower_case_name) {
  for (const char* variable : {name, lower_case_name})
    if (const char* text = std::getenv(variable); text != nullptr && *text != '\0') return text;
  return "";
}

}  // namespace

ProxyOptions proxies_from_environment() {
  return {.http = from_environment("HTTP_PROXY", "http_proxy"),
          .https = from_environment("HTTPS_PROXY", "https_proxy"),
          .none = from_environment("NO_PROXY", "no_proxy")};
}

Result<Proxies> Proxies::make(const ProxyOptions& options) {
  Proxies proxies;
  auto http = parse_proxy(options.http);
  if (!http) return std::move(http).error();
  auto https = parse_proxy(options.https);
  if (!https) return std::move(https).error();
  proxies.http_ = *std::move(http);
  proxies.https_ = *std::move(https);
  proxies.none_ = options.none;
  for (std::string_view rest = proxies.none_; !rest.empty();) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    std::string word = base::lower_case(trimmed(rest.substr(0, comma)));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    if (word.empty()) continue;
    if (word == "*") proxies.all_excepted_ = true;
    if (const auto cidr = Cidr::parse(word)) {
      proxies.excepted_networks_.push_back(*cidr);
      continue;
    }
    Exception exception{.host = word, .itself = true, .below = true, .port = ""};
    if (word.starts_with('[') && word.find(']') != std::string::npos) {
      exception.host = word.substr(1, word.find(']') - 1);
      word.erase(0, word.find(']') + 1);
      if (word.starts_with(':')) exception.port = word.substr(1);
    } else if (word.find(':') == word.rfind(':') && word.find(':') != std::string::npos) {
      exception.host = word.substr(0, word.find(':'));
      exception.port = word.substr(word.find(':') + 1);
    }
    if (exception.host.starts_with("*.")) exception.host.erase(0, 1);
    if (exception.host.starts_with('.')) {
      exception.host.erase(0, 1);
      exception.itself = false;
    }
    if (is_ip_address(exception.host)) exception.below = false;
    if (!exception.host.empty()) proxies.exceptions_.push_back(std::move(exception));
  }
  return proxies;
}

const Proxy* Proxies::proxy_for(const Url& url) const {
  const std::optional<Proxy>& proxy = url.is_tls() ? https_ : http_;
  return proxy && !is_exception(url) ? &*proxy : nullptr;
}

bool Proxies::is_exception(const Url& url) const {
  const std::string host = base::lower_case(url.host);
  if (all_excepted_ || is_loopback(host)) return true;
  for (const Cidr& network : excepted_networks_)
    if (network.contains(host)) return true;
  for (const Exception& exception : exceptions_) {
    if (!exception.port.empty() && exception.port != std::to_string(url.port)) continue;
    if (exception.itself && host == exception.host) return true;
    if (exception.below && host.ends_with("." + exception.host)) return true;
  }
  return false;
}

}  // namespace registry
