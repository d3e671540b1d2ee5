#include "images/registry/http/session.h"

#include <algorithm>
#include <optional>

#include "images/registry/documents/answers.h"
#include "images/store/values/base64.h"

namespace registry {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr int kMaxRedirects = 10;
constexpr std::size_t kMaxAnswerBytes = 128u << 10;
constexpr std::size_t kMaxErrorBytes = 64u << 10;
constexpr std::size_t kMaxTokens = 256;
constexpr const char* kClientId = "docker";

std::vector<Challenge> challenges_of(const HttpResponse& response) {
  std::vector<Challenge> challenges;
  for (const std::string& value : response.headers("WWW-Authenticate"))
    for (Challenge& challenge : parse_challenges(value)) {
      if (challenges.size() < kMaxChallenges) challenges.push_back(std::move(challenge));
    }
  return challenges;
}

}  // namespace

std::string repository_scope(std::string_view path, std::string_view actions) {
  return "repository:" + std::string(path) + ":" + std::string(actions);
}

Error registry_error(HttpResponse& response, const StopSignal& stop) {
  const int status = response.status();
  if (const auto error = parse_token_error(challenges_of(response))) return *error;
  const auto body = response.read_all(kMaxErrorBytes, stop);
  if (body)
    if (const auto error = parse_error_answer(*body, status)) return *error;
  if (status == 401) return {Code::kPermissionDenied, "unauthorized: authentication required"};
  if (status == 403)
    return {Code::kPermissionDenied, "denied: requested access to the resource is denied"};
  if (status == 429) return {Code::kUnavailable, "toomanyrequests: too many requests"};
  return {code_of_status(status), "received unexpected HTTP status: " + response.status_text()};
}

Result<HttpResponse> Session::send_once(const HttpRequest& request, const StopSignal& stop) {
  auto response = client_.send(request, endpoint_.tls, stop);
  if (!response) return with_request(request, response.error());
  return response;
}

void Session::learn(const HttpResponse& response) {
  std::vector<Challenge> challenges = challenges_of(response);
  const std::lock_guard lock(mutex_);
  challenges_ = std::move(challenges);
}

Result<void> Session::ping(const StopSignal& stop) {
  const HttpRequest request{.url = url("/v2/"), .headers = {}, .text = {}, .body = {}};
  auto response = follow(request, stop);
  if (!response) return std::move(response).error();
  if (response->status() == 401) learn(*response);
  (void)response->read_all(kMaxErrorBytes, stop);
  return {};
}

Result<std::string> Session::log_in(const StopSignal& stop) {
  RETURN_IF_ERROR(ping(stop));
  std::string identity;
  std::vector<Challenge> challenges;
  {
    const std::lock_guard lock(mutex_);
    challenges = challenges_;
  }
  HttpRequest request{.url = url("/v2/"), .headers = {}, .text = {}, .body = {}};
  for (const Challenge& challenge : challenges) {
    if (challenge.scheme != "bearer") continue;
    auto token = fetch_token(challenge, {}, true, stop);
    if (!token) return with_request(request, token.error());
    identity = token->refresh;
    const std::lock_guard lock(mutex_);
    tokens_[{}] = *std::move(token);
  }
  auto response = send(request, {}, stop);
  if (!response) return std::move(response).error();
  if (response->status() == 200) return identity;
  const bool refused = response->status() == 401 || response->status() == 403;
  return Error{
      refused ? Code::kPermissionDenied : Code::kInternal,
      "login attempt to " + request.url.text() + " failed with status: " + response->status_text()};
}

Result<HttpResponse> Session::ask_realm(const Url& realm, const Challenge& challenge,
                                        const Scopes& scopes, bool offline,
                                        const StopSignal& stop) {
  HttpRequest request{.url = realm, .headers = {}, .text = {}, .body = {}};
  const std::string service = challenge.parameter("service");
  if (!credentials_.identity_token.empty()) {
    std::string scope;
    for (const std::string& one : scopes) scope += (scope.empty() ? "" : " ") + one;
    std::string form = "?grant_type=refresh_token";
    add_query(form, "service", service);
    add_query(form, "client_id", kClientId);
    if (!scope.empty()) add_query(form, "scope", scope);
    add_query(form, "refresh_token", credentials_.identity_token);
    request.method = "POST";
    request.headers = {{"Content-Type", "application/x-www-form-urlencoded"}};
    request.text = form.substr(1);
    return send_once(request, stop);
  }
  std::string& target = request.url.target;
  if (!service.empty()) add_query(target, "service", service);
  for (const std::string& scope : scopes) add_query(target, "scope", scope);
  if (offline) add_query(target, "offline_token", "true");
  if (offline) add_query(target, "client_id", kClientId);
  if (credentials_.has_password()) {
    add_query(target, "account", credentials_.username);
    request.headers = {{"Authorization", "Basic " + images::to_base64(credentials_.username + ":" +
                                                                      credentials_.password)}};
  }
  return send_once(request, stop);
}

Result<Session::Token> Session::fetch_token(const Challenge& challenge, const Scopes& scopes,
                                            bool offline, const StopSignal& stop) {
  const std::string realm_text = challenge.parameter("realm");
  const auto realm = Url::parse(realm_text);
  if (!realm) return Error{Code::kInternal, "no usable realm specified for token auth challenge"};
  // Credentials for a registry with TLS are not sent to a realm without.
  const bool secret = credentials_.has_password() || !credentials_.identity_token.empty();
  if (secret && endpoint_.base.is_tls() && endpoint_.tls->verifies() && !realm->is_tls())
    return Error{Code::kPermissionDenied,
                 "the registry wants credentials sent without TLS to " + realm->authority()};
  auto response = ask_realm(*realm, challenge, scopes, offline, stop);
  if (!response) return std::move(response).error();
  if (!response->ok()) return registry_error(*response, stop);
  auto body = response->read_all(kMaxAnswerBytes, stop);
  if (!body) return std::move(body).error();
  auto answer = parse_token_answer(*body);
  if (!answer) return std::move(answer).error();
  // A new token is fetched a little before this one ends.
  return Token{.text = std::move(answer->token),
               .refresh = std::move(answer->refresh),
               .expires = std::chrono::steady_clock::now() + answer->lifetime * 9 / 10};
}

Result<std::string> Session::authorization(const Scopes& scopes, bool fresh,
                                           const StopSignal& stop) {
  std::vector<Challenge> challenges;
  {
    const std::lock_guard lock(mutex_);
    challenges = challenges_;
    const auto token = tokens_.find(scopes);
    if (!fresh && token != tokens_.end() &&
        token->second.expires > std::chrono::steady_clock::now())
      return "Bearer " + token->second.text;
  }
  for (const Challenge& challenge : challenges) {
    if (challenge.scheme == "bearer") {
      if (!credentials_.registry_token.empty()) return "Bearer " + credentials_.registry_token;
      auto token = fetch_token(challenge, scopes, false, stop);
      if (!token) return std::move(token).error();
      const std::lock_guard lock(mutex_);
      if (tokens_.size() >= kMaxTokens) tokens_.clear();
      return "Bearer " + (tokens_[scopes] = *std::move(token)).text;
    }
    if (challenge.scheme == "basic") {
      if (!credentials_.has_password())
        return Error{Code::kPermissionDenied, "no basic auth credentials"};
      return "Basic " + images::to_base64(credentials_.username + ":" + credentials_.password);
    }
  }
  return std::string();
}

Result<HttpResponse> Session::follow(HttpRequest request, const StopSignal& stop) {
  for (int redirects = 0;; ++redirects) {
    auto response = send_once(request, stop);
    const bool reads = request.method == "GET" || request.method == "HEAD";
    if (!response || !reads || !is_redirect(response->status())) return response;
    if (redirects == kMaxRedirects)
      return with_request(request, {Code::kInternal, "stopped after 10 redirects"});
    auto next = request.url.resolve(response->header("Location"));
    if (!next) return with_request(request, {Code::kInternal, next.error().message});
    if (!next->same_origin(endpoint_.base))
      std::erase_if(request.headers,
                    [](const auto& header) { return header.first == "Authorization"; });
    request.url = *std::move(next);
  }
}

Result<HttpResponse> Session::send(HttpRequest request, const Scopes& scopes,
                                   const StopSignal& stop) {
  const auto plain_headers = request.headers;
  for (bool fresh = false;; fresh = true) {
    request.headers = plain_headers;
    if (request.url.same_origin(endpoint_.base)) {
      auto authorized = authorization(scopes, fresh, stop);
      if (!authorized) return with_request(request, authorized.error());
      if (!authorized->empty()) request.headers.emplace_back("Authorization", *authorized);
    }
    auto response = follow(request, stop);
    if (!response || response->status() != 401 || fresh) return response;
    learn(*response);
    (void)response->read_all(kMaxErrorBytes, stop);
  }
}

}  // namespace registry
