// Credentials: what a client sends to authenticate at its registry (X-Registry-Auth, POST /auth).
//
// Spec: Docker Engine API, "Authentication". Trust: the text comes from API clients. Secrets are
// neither logged nor stored.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "vmm/base/result.h"

namespace registry {

struct Credentials {
  std::string username;
  std::string password;
  std::string server_address;
  std::string identity_token;  // an OAuth refresh token
  std::string registry_token;  // a bearer token, sent as it is

  /// Whether there is nothing in it with which one could log in.
  bool are_none() const {
    return !has_password() && identity_token.empty() && registry_token.empty();
  }
  bool has_password() const { return !username.empty() || !password.empty(); }
  bool operator==(const Credentials&) const = default;
};

/// An AuthConfig as JSON. kInvalidArgument if it is not one.
base::Result<Credentials> parse_credentials(std::string_view json);

/// The header's value: the same in base64url. Empty means none.
base::Result<Credentials> parse_auth_header(std::string_view header);

/// Credentials by server, named as in the client's configuration: "https://index.docker.io/v1/",
/// "host:5000".
using CredentialsByServer = std::map<std::string, Credentials>;

/// The value of a build's X-Registry-Config. Empty means none.
base::Result<CredentialsByServer> parse_config_header(std::string_view header);

/// The credentials for a reference's domain ("docker.io", "host:5000"); none if there are none.
Credentials credentials_for(const CredentialsByServer& all, std::string_view domain);

}  // namespace registry
