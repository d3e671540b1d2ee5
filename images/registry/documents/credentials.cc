#include "images/registry/documents/credentials.h"

#include <optional>

#include "images/store/values/json.h"

namespace registry {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr std::size_t kMaxHeaderBytes = 64u << 10;

Error invalid(std::string_view why) {
  return {Code::kInvalidArgument, "invalid X-Registry-Auth header: " + std::string(why)};
}

int value_of(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+' || c == '-') return 62;
  if (c == '/' || c == '_') return 63;
  return -1;
}

/// Either alphabet, padded or not.
std::optional<std::string> base64_decode(std::string_view text) {
  while (text.ends_with('=')) text.remove_suffix(1);
  if (text.size() % 4 == 1) return std::nullopt;
  std::string bytes;
  unsigned bits = 0;
  int count = 0;
  for (const char c : text) {
    const int value = value_of(c);
    if (value < 0) return std::nullopt;
    bits = (bits << 6 | static_cast<unsigned>(value)) & 0xffffff;
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes += static_cast<char>(bits >> count & 0xff);
    }
  }
  return bytes;
}

/// The old form of a name and password: base64 of "user:password".
bool take_auth_field(const std::string& auth, Credentials& credentials) {
  auto decoded = base64_decode(auth);
  if (!decoded) return false;
  const std::size_t colon = decoded->find(':');
  if (colon == std::string::npos || colon == 0) return false;
  credentials.username = decoded->substr(0, colon);
  credentials.password = decoded->substr(colon + 1);
  while (credentials.password.ends_with('\0')) credentials.password.pop_back();
  return true;
}

}  // namespace

Result<Credentials> parse_credentials(std::string_view json) {
  if (json == "null") return Credentials();
  auto parsed = images::parse_json(json, "invalid authentication");
  if (!parsed) return std::move(parsed).error();
  images::JsonObject object(*parsed);
  Credentials credentials{.username = object.text("username"),
                          .password = object.text("password"),
                          .server_address = object.text("serveraddress"),
                          .identity_token = object.text("identitytoken"),
                          .registry_token = object.text("registrytoken")};
  const std::string auth = object.text("auth");
  if (!object.ok())
    return Error{Code::kInvalidArgument, "invalid authentication: a field is not a string"};
  if (!auth.empty() && credentials.username.empty() && !take_auth_field(auth, credentials))
    return Error{Code::kInvalidArgument,
                 "invalid authentication: \"auth\" is not \"user:password\" in base64"};
  for (const std::string* text : {&credentials.username, &credentials.identity_token,
                                  &credentials.registry_token, &credentials.server_address})
    if (text->find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos)
      return Error{Code::kInvalidArgument,
                   "invalid authentication: a field has control characters"};
  return credentials;
}

Result<Credentials> parse_auth_header(std::string_view header) {
  if (header.empty()) return Credentials();
  if (header.size() > kMaxHeaderBytes) return invalid("it is too long");
  const auto json = base64_decode(header);
  if (!json) return invalid("must be a valid base64url-encoded string");
  if (json->empty()) return Credentials();
  auto credentials = parse_credentials(*json);
  if (!credentials) return invalid(credentials.error().message);
  return credentials;
}

Result<CredentialsByServer> parse_config_header(std::string_view header) {
  constexpr std::string_view kWhat = "invalid X-Registry-Config header";
  const auto wrong = [&](std::string_view why) {
    return Error{Code::kInvalidArgument, std::string(kWhat) + ": " + std::string(why)};
  };
  CredentialsByServer all;
  if (header.empty()) return all;
  if (header.size() > kMaxHeaderBytes) return wrong("it is too long");
  const auto json = base64_decode(header);
  if (!json) return wrong("must be a valid base64url-encoded string");
  if (json->empty() || *json == "null") return all;
  const auto parsed = images::parse_json(*json, kWhat);
  if (!parsed) return parsed.error();
  if (!parsed->is_object()) return wrong("it is not an object");
  for (const auto& [server, config] : parsed->items()) {
    auto credentials = parse_credentials(config.dump());
    if (!credentials) return wrong(credentials.error().message);
    all.emplace(server, *std::move(credentials));
  }
  return all;
}

Credentials credentials_for(const CredentialsByServer& all, std::string_view domain) {
  for (const auto& [server, credentials] : all) {
    std::string_view host = server;
    for (const std::string_view scheme : {"https://", "http://"})
      if (host.starts_with(scheme)) host.remove_prefix(scheme.size());
    host = host.substr(0, host.find('/'));
    if (host == "index.docker.io") host = "docker.io";
    if (host == domain) return credentials;
  }
  return {};
}

}  // namespace registry
