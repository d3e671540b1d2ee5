// Router: which handler answers a method and a path.
//
// Patterns: "/containers/{id}/start"; "{name}" matches one segment, "{name:*}" one or more (image
// names contain slashes). The first pattern added that matches wins. The router is filled before
// the server starts and only read afterwards.
//
// Memory: a body for a Handler waits in memory up to kSmallBody bytes; a larger one waits in the
// spool until it is whole. At most kLargeBodies of the larger ones are in memory at a time, shared
// fairly among the clients, while a pool's thread parses them and their handlers run.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api/async/net.h"
#include "api/http/client_slots.h"
#include "api/http/exchange.h"
#include "api/http/spool.h"

namespace http {

class Router {
 public:
  /// Gets the whole body (at most kMaxBody), returns the whole answer.
  using Handler = std::function<net::awaitable<Response>(Request)>;
  /// Reads the body and writes the answer itself.
  using StreamHandler = std::function<net::awaitable<void>(Exchange&)>;

  static constexpr std::size_t kMaxBody = 4u << 20;
  static constexpr std::size_t kSmallBody = 32u << 10;
  static constexpr std::size_t kLargeBodies = 4;

  enum class Body {
    kKept,     // the handler gets it
    kDropped,  // whatever the client sends: the handler does not look at it
  };

  /// Lets large bodies wait in `spool`. Without it (in tests) they wait in memory. Both outlive the
  /// Router.
  void use_spool(const net::any_io_executor& executor, Spool& spool, async::BlockingPool& pool);

  void add(std::string_view method, std::string_view pattern, Handler handler,
           Body body = Body::kKept);
  void add_stream(std::string_view method, std::string_view pattern, StreamHandler handler);

  /// Runs the handler for `exchange.request()`; unknown routes get Docker's 404.
  net::awaitable<void> serve(Exchange& exchange) const;

  struct Match {
    const std::variant<Handler, StreamHandler>* handler = nullptr;  // null: no such route
    Body body = Body::kKept;
    std::vector<std::pair<std::string, std::string>> args;
  };
  Match match(std::string_view method, std::string_view path) const;

 private:
  struct Segment {
    enum class Kind { kLiteral, kOne, kMany } kind = Kind::kLiteral;
    std::string text;  // the literal, or the argument's name
  };
  struct Route {
    std::string method;
    std::vector<Segment> segments;
    std::variant<Handler, StreamHandler> handler;
    Body body = Body::kKept;
  };
  struct Large {
    Spool& spool;
    async::BlockingPool& pool;
    mutable ClientSlots slots;
  };
  net::awaitable<void> call(Exchange& exchange, const Handler& handler, Body body) const;
  net::awaitable<base::Result<bool>> read_small(Exchange& exchange, std::string& body) const;
  net::awaitable<void> call_with_large(Exchange& exchange, const Handler& handler,
                                       std::string first) const;
  static std::vector<Segment> parse(std::string_view pattern);
  static bool match_from(const std::vector<Segment>& pattern, std::size_t at,
                         const std::vector<std::string_view>& path, std::size_t path_at,
                         std::vector<std::pair<std::string, std::string>>& args);

  std::vector<Route> routes_;
  std::unique_ptr<Large> large_;
};

}  // namespace http
