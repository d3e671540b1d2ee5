#include "images/registry/documents/url.h"

#include <algorithm>
#include <charconv>

namespace registry {

namespace {

constexpr std::size_t kMaxUrlBytes = 16u << 10;
constexpr std::uint16_t kHttpPort = 80;
constexpr std::uint16_t kHttpsPort = 443;

base::Error bad(std::string_view text) {
  return {base::Code::kInvalidArgument, "invalid URL \"" + std::string(text.substr(0, 256)) + "\""};
}

bool is_graphic(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

bool is_host(std::string_view host) {
  return !host.empty() && std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_' || c == ':';
  });
}

bool parse_authority(std::string_view text, Url& url) {
  std::string_view port;
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) return false;
    url.host = text.substr(1, close - 1);
    text.remove_prefix(close + 1);
    if (!text.empty() && text.front() != ':') return false;
    if (!text.empty()) port = text.substr(1);
    if (text == ":") return false;
  } else {
    const std::size_t colon = text.find(':');
    url.host = text.substr(0, colon);
    if (url.host.find(':') != std::string::npos) return false;
    if (colon != std::string_view::npos) {
      port = text.substr(colon + 1);
      if (port.empty()) return false;
    }
  }
  url.port = url.is_tls() ? kHttpsPort : kHttpPort;
  if (!port.empty()) {
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), url.port);
    if (error != std::errc() || end != port.data() + port.size() || url.port == 0) return false;
  }
  return is_host(url.host);
}

/// The path without its last segment's name: "/a/b?c" -> "/a/".
std::string_view directory_of(std::string_view target) {
  target = target.substr(0, target.find('?'));
  return target.substr(0, target.rfind('/') + 1);
}

}  // namespace

base::Result<Url> Url::parse(std::string_view text) {
  if (text.size() > kMaxUrlBytes || !is_graphic(text)) return bad(text);
  Url url;
  std::string_view rest;
  if (text.starts_with("https://")) {
    url.scheme = "https";
    rest = text.substr(8);
  } else if (text.starts_with("http://")) {
    url.scheme = "http";
    rest = text.substr(7);
  } else {
    return bad(text);
  }
  rest = rest.substr(0, rest.find('#'));
  const std::size_t end = std::min(rest.find_first_of("/?"), rest.size());
  if (!parse_authority(rest.substr(0, end), url)) return bad(text);
  url.target = rest.substr(end);
  if (url.target.empty() || url.target.front() == '?') url.target.insert(0, "/");
  return url;
}

base::Result<Url> Url::resolve(std::string_view location) const {
  if (location.starts_with("http://") || location.starts_with("https://")) return parse(location);
  if (location.starts_with("//")) return parse(scheme + ":" + std::string(location));
  if (location.empty() || location.size() > kMaxUrlBytes || !is_graphic(location))
    return bad(location);
  location = location.substr(0, location.find('#'));
  // Another scheme is none of ours: a colon before the first slash.
  if (const std::size_t colon = location.find(':');
      colon != std::string_view::npos && colon < location.find_first_of("/?"))
    return bad(location);
  if (location.starts_with('/')) return with_target(*this, std::string(location));
  return with_target(*this, std::string(directory_of(target)) + std::string(location));
}

std::string Url::authority() const {
  std::string text = host.find(':') == std::string::npos ? host : "[" + host + "]";
  if (port != (is_tls() ? kHttpsPort : kHttpPort)) text += ":" + std::to_string(port);
  return text;
}

Url with_target(const Url& url, std::string target) {
  Url other = url;
  other.target = std::move(target);
  return other;
}

std::string percent_encode(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~';
    if (plain) {
      encoded += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    encoded += '%';
    encoded += kHex[byte >> 4];
    encoded += kHex[byte & 15];
  }
  return encoded;
}

void add_query(std::string& target, std::string_view name, std::string_view value) {
  target += target.find('?') == std::string::npos ? '?' : '&';
  target += std::string(name) + "=" + percent_encode(value);
}

}  // namespace registry
