#include "images/registry/search.h"

#include "images/store/values/base64.h"

namespace registry {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr std::size_t kMaxAnswerBytes = 1u << 20;

/// As in an image's name: the first part is a host if nothing else can look like it.
bool is_host(std::string_view part) {
  return part.find_first_of(".:") != std::string_view::npos || part == "localhost";
}

}  // namespace

Result<SearchQuery> parse_search(std::string_view term, int limit) {
  if (term.empty()) return Error{Code::kInvalidArgument, "no search term specified"};
  if (term.find("://") != std::string_view::npos)
    return Error{Code::kInvalidArgument,
                 "invalid repository name (ex: \"registry.domain.tld/myrepos\")"};
  if (limit == 0) limit = kDefaultSearchLimit;
  if (limit < 1 || limit > kMaxSearchLimit)
    return Error{Code::kInvalidArgument, "limit " + std::to_string(limit) +
                                             " is outside the range of [1, " +
                                             std::to_string(kMaxSearchLimit) + "]"};
  SearchQuery query{.domain = std::string(kHubDomain), .term = std::string(term), .limit = limit};
  const auto slash = term.find('/');
  if (slash == std::string_view::npos || !is_host(term.substr(0, slash))) return query;
  query.domain = term.substr(0, slash);
  query.term = term.substr(slash + 1);
  if (query.domain == "index.docker.io") query.domain = kHubDomain;
  if (query.term.empty()) return Error{Code::kInvalidArgument, "no search term specified"};
  return query;
}

Result<std::vector<FoundImage>> search_index(HttpClient& client, const Endpoint& endpoint,
                                             const SearchQuery& query,
                                             const Credentials& credentials,
                                             const StopSignal& stop) {
  std::string target = "/v1/search";
  add_query(target, "q", query.term);
  add_query(target, "n", std::to_string(query.limit));
  HttpRequest request{.method = "GET",
                      .url = with_target(endpoint.base, std::move(target)),
                      .headers = {{"Accept", "application/json"}},
                      .text = {},
                      .body = {}};
  if (credentials.has_password())
    request.headers.emplace_back(
        "Authorization",
        "Basic " + images::to_base64(credentials.username + ":" + credentials.password));
  auto response = client.send(request, endpoint.tls, stop);
  // A failed handshake, too: it is no refusal, the next endpoint may do without.
  if (!response) return Error{Code::kUnavailable, with_request(request, response.error()).message};
  if (response->status() == 401) return Error{Code::kPermissionDenied, "authentication required"};
  if (response->status() == 404)
    return Error{Code::kNotSupported, query.domain + " has no search: few registries have one " +
                                          "besides Docker Hub; pull an image by its name"};
  if (!response->ok())
    return Error{Code::kInternal, "Unexpected status code " + std::to_string(response->status())};
  const auto body = response->read_all(kMaxAnswerBytes, stop);
  if (!body) return with_request(request, body.error());
  return parse_found_images(*body, query.limit);
}

}  // namespace registry
