// HttpClient: HTTP/1.1 requests to registries, over connections that are kept for a while.
//
// Redirects and credentials are session.h's, retries repository.h's. A request that is lost on a
// kept connection before any answer is sent once more on a new one.
// Threads: any number at once; a response belongs to one. Trust: headers are bounded
// (kMaxHeaderBytes), bodies are streams which the reader bounds.
// Errors: those of connection.h.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "images/registry/documents/url.h"
#include "images/registry/http/connection.h"
#include "images/store/streams/byte_source.h"
#include "vmm/base/result.h"

namespace registry {

struct HttpRequest {
  std::string method = "GET";
  Url url;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string text;  // the body, unless there is a `body`
  /// Writes a body of unknown length; called at most once for each time the request is sent.
  std::function<base::Result<void>(images::ByteSink&)> body;
};

class HttpClient;

class HttpResponse {
 public:
  HttpResponse(HttpResponse&&) noexcept;
  HttpResponse& operator=(HttpResponse&&) noexcept;
  ~HttpResponse();

  int status() const;
  bool ok() const { return status() >= 200 && status() < 300; }
  /// "404 Not Found"
  std::string status_text() const;
  /// The first field of that name, or "".
  std::string header(std::string_view name) const;
  std::vector<std::string> headers(std::string_view name) const;
  /// Body bytes; 0 at its end. kUnavailable ("unexpected EOF") if it is cut short.
  base::Result<std::size_t> read(std::span<std::byte> out, const StopSignal& stop);
  /// The whole body; kResourceExhausted if it is longer than `limit`.
  base::Result<std::string> read_all(std::size_t limit, const StopSignal& stop);

 private:
  friend class HttpClient;
  struct State;
  explicit HttpResponse(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

class HttpClient {
 public:
  static constexpr std::size_t kMaxHeaderBytes = 64u << 10;

  HttpClient(std::string user_agent, Timeouts timeouts, Reach reach = Reach::kAnywhere,
             Proxies proxies = {})
      : user_agent_(std::move(user_agent)),
        timeouts_(timeouts),
        reach_(reach),
        proxies_(std::move(proxies)) {}

  /// The answer's head; its body is still to be read. The client outlives the response.
  base::Result<HttpResponse> send(const HttpRequest& request,
                                  const std::shared_ptr<const TlsContext>& tls,
                                  const StopSignal& stop);

 private:
  friend class HttpResponse;
  static constexpr std::size_t kMaxIdle = 16;
  static constexpr std::chrono::seconds kMaxIdleTime{20};

  /// What makes connections interchangeable.
  struct Key {
    std::string origin;
    std::shared_ptr<const TlsContext> tls;
    bool operator==(const Key&) const = default;
  };
  struct Idle {
    Key key;
    std::unique_ptr<Connection> connection;
    std::chrono::steady_clock::time_point since;
  };

  static Key key_of(const Url& url, const std::shared_ptr<const TlsContext>& tls);
  base::Result<HttpResponse> send_on(std::unique_ptr<Connection> connection,
                                     const HttpRequest& request, const Proxy* proxy, Key key,
                                     bool& answered, const StopSignal& stop);
  std::unique_ptr<Connection> take_idle(const Key& key);
  void put_idle(Key key, std::unique_ptr<Connection> connection);

  const std::string user_agent_;
  const Timeouts timeouts_;
  const Reach reach_;
  const Proxies proxies_;
  std::mutex mutex_;
  std::vector<Idle> idle_;
};

/// `Get "https://...": ` before what went wrong.
base::Error with_request(const HttpRequest& request, const base::Error& error);
bool is_redirect(int status);

}  // namespace registry
