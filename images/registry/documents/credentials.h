// Credentials: what a client sends to have its registry believe it (X-Registry-Auth, POST /auth).
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

  /// Whether there is nothing in it that a registry could believe.
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

/// By server, as the client's configuration names them: "https://index.docker.io/v1/", "host:5000".
using CredentialsByServer = std::map<std::string, Credentials>;

/// The value of a build's X-Registry-Config. Empty means none.
base::Result<CredentialsByServer> parse_config_header(std::string_view header);

/// Those for a reference's domain ("docker.io", "host:5000"), or none.
Credentials credentials_for(const CredentialsByServer& all, std::string_view domain);

}  // namespace registry
