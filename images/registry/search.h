// search_index(): `docker search`. It is no part of the distribution API: Docker Hub's index has it
// (/v1/search), and few registries besides.
//
// Trust: the answer is the index's; it is bounded, and what has a wrong type is an error.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "images/registry/documents/answers.h"
#include "images/registry/documents/credentials.h"
#include "images/registry/http/http_client.h"
#include "images/registry/http/settings.h"
#include "vmm/base/result.h"

namespace registry {

struct SearchQuery {
  std::string domain;  // "docker.io", or the host that the term began with
  std::string term;
  int limit = 25;
};

inline constexpr int kDefaultSearchLimit = 25;
inline constexpr int kMaxSearchLimit = 100;

/// "term", or "host[:port]/term". A limit of 0 means the default. kInvalidArgument in Docker's
/// words.
base::Result<SearchQuery> parse_search(std::string_view term, int limit);

/// At most the query's limit. kUnavailable: no answer; kNotSupported: this registry has no search.
base::Result<std::vector<FoundImage>> search_index(HttpClient& client, const Endpoint& endpoint,
                                                   const SearchQuery& query,
                                                   const Credentials& credentials,
                                                   const StopSignal& stop);

}  // namespace registry
