// Session: sends authorized requests to one endpoint of a registry on behalf of one client.
//
// Spec: OCI distribution spec; distribution's token authentication (docs/spec/auth/token.md and
// oauth.md). The endpoint's challenge decides: Basic, or Bearer with a token of its realm, which is
// fetched when it is needed and again when it has expired. Redirects of reads are followed;
// credentials go to the endpoint and its realm only, never to where a redirect leads.
// Threads: any number at once. Errors: Docker's sentences; those of connection.h have
// `Get "https://...": ` before them.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "images/registry/documents/challenge.h"
#include "images/registry/documents/credentials.h"
#include "images/registry/http/http_client.h"
#include "images/registry/http/settings.h"

namespace registry {

/// What a request wants to do, as token servers know it: "repository:library/busybox:pull".
using Scopes = std::vector<std::string>;
std::string repository_scope(std::string_view path, std::string_view actions);

class Session {
 public:
  /// The client outlives it.
  Session(HttpClient& client, Endpoint endpoint, Credentials credentials)
      : client_(client), endpoint_(std::move(endpoint)), credentials_(std::move(credentials)) {}

  /// Asks whether a registry is there and what authorization it wants. An Error only if nobody
  /// answers.
  base::Result<void> ping(const StopSignal& stop);
  /// `docker login`: whether the credentials are good, and an identity token if the registry gives
  /// one. kPermissionDenied if they are not.
  base::Result<std::string> log_in(const StopSignal& stop);

  /// Sends a request to the endpoint, after a 401 once more with a new token. The answer may have
  /// any status.
  base::Result<HttpResponse> send(HttpRequest request, const Scopes& scopes,
                                  const StopSignal& stop);

  const Endpoint& endpoint() const { return endpoint_; }
  /// A URL of the endpoint.
  Url url(std::string target) const { return with_target(endpoint_.base, std::move(target)); }

 private:
  struct Token {
    std::string text;
    std::string refresh;
    std::chrono::steady_clock::time_point expires;
  };

  void learn(const HttpResponse& response);
  /// The Authorization header's value, or "" if the registry wants none.
  base::Result<std::string> authorization(const Scopes& scopes, bool fresh, const StopSignal& stop);
  base::Result<Token> fetch_token(const Challenge& challenge, const Scopes& scopes, bool offline,
                                  const StopSignal& stop);
  base::Result<HttpResponse> ask_realm(const Url& realm, const Challenge& challenge,
                                       const Scopes& scopes, bool offline, const StopSignal& stop);
  base::Result<HttpResponse> follow(HttpRequest request, const StopSignal& stop);
  base::Result<HttpResponse> send_once(const HttpRequest& request, const StopSignal& stop);

  HttpClient& client_;
  const Endpoint endpoint_;
  const Credentials credentials_;
  std::mutex mutex_;  // guards the rest
  std::vector<Challenge> challenges_;
  std::map<Scopes, Token> tokens_;
};

/// The Error of an answer that is none of the expected ones, from its body (distribution spec,
/// "errors"): "denied: requested access to the resource is denied". The code is kNotFound,
/// kPermissionDenied or kInternal.
base::Error registry_error(HttpResponse& response, const StopSignal& stop);

}  // namespace registry
