#include "images/registry/http/http_client.h"

#include <algorithm>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <charconv>
#include <limits>
#include <optional>

namespace registry {

namespace http = boost::beast::http;
using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr std::size_t kReadBytes = 64u << 10;
constexpr int kMaxInterim = 8;  // 1xx answers before the real one

Error malformed(const boost::system::error_code& error) {
  return {Code::kInternal, "net/http: malformed HTTP response: " + error.message()};
}

/// A body of unknown length on the wire (RFC 9112, 7.1).
class ChunkedSink : public images::ByteSink {
 public:
  ChunkedSink(Connection& connection, const StopSignal& stop)
      : connection_(connection), stop_(stop) {}

  Result<void> write(std::span<const std::byte> bytes) override {
    if (bytes.empty()) return {};
    std::array<char, 18> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + 16, bytes.size(), 16).ptr;
    RETURN_IF_ERROR(put(std::string(digits.data(), end) + "\r\n"));
    RETURN_IF_ERROR(connection_.write_all(bytes, stop_));
    return put("\r\n");
  }
  Result<void> finish() { return put("0\r\n\r\n"); }

 private:
  Result<void> put(const std::string& text) {
    return connection_.write_all(std::as_bytes(std::span(text)), stop_);
  }

  Connection& connection_;
  const StopSignal& stop_;
};

bool may_have_body(const std::string& method) { return method != "GET" && method != "HEAD"; }

/// `proxy`: the one that passes http on, nullptr if there is none.
std::string head_of(const HttpRequest& request, const std::string& user_agent, const Proxy* proxy) {
  const bool passed_on = proxy != nullptr && !request.url.is_tls();
  std::string head = request.method + " " + (passed_on ? request.url.text() : request.url.target) +
                     " HTTP/1.1\r\nHost: " + request.url.authority() +
                     "\r\nUser-Agent: " + user_agent + "\r\n";
  if (passed_on && !proxy->authorization.empty())
    head += "Proxy-Authorization: " + proxy->authorization + "\r\n";
  for (const auto& [name, value] : request.headers) head += name + ": " + value + "\r\n";
  if (request.body) {
    head += "Transfer-Encoding: chunked\r\n";
  } else if (may_have_body(request.method)) {
    head += "Content-Length: " + std::to_string(request.text.size()) + "\r\n";
  }
  return head + "\r\n";
}

/// Go's name of a method in an error: "Get".
std::string verb_of(const std::string& method) {
  std::string verb = method;
  for (std::size_t i = 1; i < verb.size(); ++i)
    if (verb[i] >= 'A' && verb[i] <= 'Z') verb[i] = static_cast<char>(verb[i] - 'A' + 'a');
  return verb;
}

}  // namespace

struct HttpResponse::State {
  State(HttpClient& owner, HttpClient::Key connection_key, std::unique_ptr<Connection> from)
      : client(owner), key(std::move(connection_key)), connection(std::move(from)) {
    reset();
  }

  void reset() {
    parser.emplace();
    parser->header_limit(HttpClient::kMaxHeaderBytes);
    parser->body_limit(std::numeric_limits<std::uint64_t>::max());
  }

  std::span<const std::byte> unread() const { return std::span(buffer).subspan(used); }

  /// More input behind what is unread. False at the end of the connection.
  Result<bool> fill(const StopSignal& stop) {
    buffer.erase(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(used));
    used = 0;
    const std::size_t had = buffer.size();
    buffer.resize(had + kReadBytes);
    auto got = connection->read_some(std::span(buffer).subspan(had), stop);
    buffer.resize(had + (got ? *got : 0));
    if (!got) return std::move(got).error();
    return *got > 0;
  }

  Result<void> read_head(bool is_head, bool& answered, const StopSignal& stop) {
    for (int interim = 0; interim <= kMaxInterim; ++interim) {
      RETURN_IF_ERROR(read_one_head(is_head, answered, stop));
      if (parser->get().result_int() >= 200) return {};
      reset();
    }
    return Error{Code::kInternal, "net/http: too many 1xx informational responses"};
  }

  Result<void> read_one_head(bool is_head, bool& answered, const StopSignal& stop) {
    parser->skip(is_head);
    while (!parser->is_header_done()) {
      if (!unread().empty()) {
        boost::system::error_code error;
        used += parser->put(boost::asio::const_buffer(unread().data(), unread().size()), error);
        if (error && error != http::error::need_more && error != http::error::need_buffer)
          return malformed(error);
        if (parser->is_header_done()) break;
        if (unread().size() > HttpClient::kMaxHeaderBytes)
          return Error{Code::kResourceExhausted,
                       "net/http: server response headers exceeded the limit"};
      }
      auto more = fill(stop);
      if (!more) return std::move(more).error();
      if (!*more) return Error{Code::kUnavailable, "EOF"};
      answered = true;
    }
    return {};
  }

  Result<std::size_t> read(std::span<std::byte> out, const StopSignal& stop) {
    while (true) {
      if (parser->is_done()) {
        release();
        return std::size_t{0};
      }
      auto& body = parser->get().body();
      body.data = out.data();
      body.size = out.size();
      boost::system::error_code error;
      if (!unread().empty()) {
        used += parser->put(boost::asio::const_buffer(unread().data(), unread().size()), error);
        if (error == http::error::need_more || error == http::error::need_buffer) error = {};
        if (error) return malformed(error);
      }
      const std::size_t got = out.size() - body.size;
      if (got > 0) return got;
      if (parser->is_done()) continue;
      auto more = fill(stop);
      if (!more) return std::move(more).error();
      if (*more) continue;
      parser->put_eof(error);
      if (error) return Error{Code::kUnavailable, "unexpected EOF"};
    }
  }

  /// The connection goes back for the next request, if it can have one.
  void release() {
    if (connection && reusable && parser->is_done() && parser->keep_alive() && unread().empty())
      client.put_idle(std::move(key), std::move(connection));
    connection.reset();
  }

  HttpClient& client;
  HttpClient::Key key;
  std::unique_ptr<Connection> connection;
  std::vector<std::byte> buffer;
  std::size_t used = 0;
  bool reusable = true;
  std::optional<http::response_parser<http::buffer_body>> parser;
};

HttpResponse::HttpResponse(std::unique_ptr<State> state) : state_(std::move(state)) {}
HttpResponse::HttpResponse(HttpResponse&&) noexcept = default;
HttpResponse& HttpResponse::operator=(HttpResponse&&) noexcept = default;
HttpResponse::~HttpResponse() {
  if (state_) state_->release();
}

int HttpResponse::status() const { return static_cast<int>(state_->parser->get().result_int()); }

std::string HttpResponse::status_text() const {
  const auto reason = http::obsolete_reason(state_->parser->get().result());
  return std::to_string(status()) + " " + std::string(reason.data(), reason.size());
}

std::string HttpResponse::header(std::string_view name) const {
  const auto& fields = state_->parser->get();
  const auto found = fields.find(boost::beast::string_view(name.data(), name.size()));
  return found == fields.end() ? std::string()
                               : std::string(found->value().data(), found->value().size());
}

std::vector<std::string> HttpResponse::headers(std::string_view name) const {
  std::vector<std::string> values;
  const auto [first, last] =
      state_->parser->get().equal_range(boost::beast::string_view(name.data(), name.size()));
  for (auto field = first; field != last; ++field)
    values.emplace_back(field->value().data(), field->value().size());
  return values;
}

Result<std::size_t> HttpResponse::read(std::span<std::byte> out, const StopSignal& stop) {
  return state_->read(out, stop);
}

Result<std::string> HttpResponse::read_all(std::size_t limit, const StopSignal& stop) {
  std::string text;
  std::vector<std::byte> buffer(16u << 10);
  while (true) {
    auto got = state_->read(buffer, stop);
    if (!got) return std::move(got).error();
    if (*got == 0) return text;
    if (*got > limit - text.size())
      return Error{Code::kResourceExhausted, "the registry's answer is larger than the limit of " +
                                                 std::to_string(limit) + " bytes"};
    text.append(reinterpret_cast<const char*>(buffer.data()), *got);
  }
}

HttpClient::Key HttpClient::key_of(const Url& url, const std::shared_ptr<const TlsContext>& tls) {
  return {url.scheme + "://" + url.authority(), url.is_tls() ? tls : nullptr};
}

Result<HttpResponse> HttpClient::send(const HttpRequest& request,
                                      const std::shared_ptr<const TlsContext>& tls,
                                      const StopSignal& stop) {
  const Key key = key_of(request.url, tls);
  const Proxy* const proxy = proxies_.proxy_for(request.url);
  // A body may be costly to make, and a kept connection may just be ending: bodies get new ones.
  if (auto kept = request.body ? nullptr : take_idle(key)) {
    bool answered = false;
    auto response = send_on(std::move(kept), request, proxy, key, answered, stop);
    if (response || answered || stop.requested()) return response;
  }
  auto connection = Connection::open(request.url, proxy, tls, timeouts_, reach_, stop);
  if (!connection) return std::move(connection).error();
  bool answered = false;
  return send_on(*std::move(connection), request, proxy, key, answered, stop);
}

Result<HttpResponse> HttpClient::send_on(std::unique_ptr<Connection> connection,
                                         const HttpRequest& request, const Proxy* proxy, Key key,
                                         bool& answered, const StopSignal& stop) {
  const std::string head =
      head_of(request, user_agent_, proxy) + (request.body ? "" : request.text);
  auto sent = connection->write_all(std::as_bytes(std::span(head)), stop);
  if (sent && request.body) {
    ChunkedSink sink(*connection, stop);
    sent = request.body(sink);
    if (sent) sent = sink.finish();
    // If the body could not be made, the request ends here, so that it does not look complete. If
    // it could not be sent, the registry may have answered already: that answer is read.
    if (!sent && sent.error().code != Code::kUnavailable) return std::move(sent).error();
  }
  if (stop.requested()) return stopped_error();
  auto state = std::make_unique<HttpResponse::State>(*this, std::move(key), std::move(connection));
  auto read = state->read_head(request.method == "HEAD", answered, stop);
  if (!read) return sent ? std::move(read).error() : std::move(sent).error();
  state->reusable = sent.has_value();
  return HttpResponse(std::move(state));
}

std::unique_ptr<Connection> HttpClient::take_idle(const Key& key) {
  const std::lock_guard lock(mutex_);
  const auto now = std::chrono::steady_clock::now();
  std::erase_if(idle_, [&](const Idle& idle) {
    return now - idle.since > kMaxIdleTime || !idle.connection->is_fresh();
  });
  const auto found =
      std::find_if(idle_.begin(), idle_.end(), [&](const Idle& idle) { return idle.key == key; });
  if (found == idle_.end()) return nullptr;
  auto connection = std::move(found->connection);
  idle_.erase(found);
  return connection;
}

void HttpClient::put_idle(Key key, std::unique_ptr<Connection> connection) {
  const std::lock_guard lock(mutex_);
  if (idle_.size() >= kMaxIdle) idle_.erase(idle_.begin());
  idle_.push_back({std::move(key), std::move(connection), std::chrono::steady_clock::now()});
}

Error with_request(const HttpRequest& request, const Error& error) {
  return {error.code,
          verb_of(request.method) + " \"" + request.url.text() + "\": " + error.message};
}

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

}  // namespace registry
