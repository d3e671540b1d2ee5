// Router: which handler answers a method and a path.
//
// Patterns: "/containers/{id}/start"; "{name}" matches one segment, "{name:*}" one or more (image
// names contain slashes). The first pattern added that matches wins. The router is filled before
// the server starts and only read afterwards.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "api/async/net.h"
#include "api/http/exchange.h"

namespace http {

class Router {
 public:
  /// Gets the whole body (at most kMaxBody), returns the whole answer.
  using Handler = std::function<net::awaitable<Response>(Request)>;
  /// Reads the body and writes the answer itself.
  using StreamHandler = std::function<net::awaitable<void>(Exchange&)>;

  static constexpr std::size_t kMaxBody = 4u << 20;

  void add(std::string_view method, std::string_view pattern, Handler handler);
  void add_stream(std::string_view method, std::string_view pattern, StreamHandler handler);

  /// Runs the handler for `exchange.request()`; unknown routes get Docker's 404.
  net::awaitable<void> serve(Exchange& exchange) const;

  struct Match {
    const std::variant<Handler, StreamHandler>* handler = nullptr;  // null: no such route
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
  };
  static std::vector<Segment> parse(std::string_view pattern);
  static bool match_from(const std::vector<Segment>& pattern, std::size_t at,
                         const std::vector<std::string_view>& path, std::size_t path_at,
                         std::vector<std::pair<std::string, std::string>>& args);

  std::vector<Route> routes_;
};

}  // namespace http
