#include "images/registry/http/connection.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <cstring>

#include "images/registry/http/local_address.h"

namespace registry {

namespace http = boost::beast::http;
using base::Code;
using base::Error;
using base::Result;
using std::chrono::milliseconds;

namespace {

constexpr std::size_t kMaxWriteBytes = 1u << 20;

/// "connection refused": strerror's words as Go writes them.
std::string lower_strerror(int error) {
  std::string text = std::strerror(error);
  if (!text.empty() && text[0] >= 'A' && text[0] <= 'Z') text[0] = static_cast<char>(text[0] + 32);
  return text;
}

Error timed_out() { return {Code::kDeadlineExceeded, "i/o timeout"}; }

std::string address_text(const addrinfo& address) {
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> port{};
  if (::getnameinfo(address.ai_addr, address.ai_addrlen, host.data(), host.size(), port.data(),
                    port.size(), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return "?";
  const bool v6 = address.ai_family == AF_INET6;
  return (v6 ? "[" : "") + std::string(host.data()) + (v6 ? "]:" : ":") + port.data();
}

Result<void> poll_for(int fd, short events, milliseconds time, const StopSignal& stop) {
  const auto deadline = std::chrono::steady_clock::now() + time;
  while (true) {
    const auto left =
        std::chrono::duration_cast<milliseconds>(deadline - std::chrono::steady_clock::now());
    std::array<pollfd, 2> waits{pollfd{.fd = fd, .events = events, .revents = 0},
                                pollfd{.fd = stop.fd(), .events = POLLIN, .revents = 0}};
    const int ready = ::poll(waits.data(), waits.size(),
                             static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
    if (stop.requested()) return stopped_error();
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return base::errno_error("poll");
    if (waits[0].revents != 0) return {};
    if (left.count() <= 0) return timed_out();
  }
}

Result<base::UniqueFd> connect_to(const addrinfo& address, milliseconds time,
                                  const StopSignal& stop) {
  base::UniqueFd socket(
      ::socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP));
  if (!socket) return base::errno_error("socket");
  const int one = 1;
  (void)::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  (void)::setsockopt(socket.get(), SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
  int error = 0;
  if (::connect(socket.get(), address.ai_addr, address.ai_addrlen) < 0) error = errno;
  if (error == EINPROGRESS) {
    RETURN_IF_ERROR(poll_for(socket.get(), POLLOUT, time, stop));
    socklen_t size = sizeof error;
    if (::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) < 0) error = errno;
  }
  if (error != 0) return Error{Code::kUnavailable, "connect: " + lower_strerror(error)};
  return socket;
}

/// Unlike Go's, this error does not list the names in the certificate; it names the host.
Error certificate_error(ssl_st* tls, const std::string& host) {
  const long result = SSL_get_verify_result(tls);
  std::string why = X509_verify_cert_error_string(result);
  switch (result) {
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
      why = "certificate signed by unknown authority";
      break;
    case X509_V_ERR_CERT_HAS_EXPIRED:
      why = "certificate has expired or is not yet valid";
      break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      why = "certificate is not valid for " + host;
      break;
    default:
      break;
  }
  return {Code::kPermissionDenied, "tls: failed to verify certificate: x509: " + why};
}

struct FreeAddresses {
  void operator()(addrinfo* addresses) const { ::freeaddrinfo(addresses); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;

/// The resolver cannot be interrupted; how long it takes is bounded by resolv.conf.
Result<Addresses> resolve(const Url& url) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error =
      ::getaddrinfo(url.host.c_str(), std::to_string(url.port).c_str(), &hints, &found);
  if (error == 0) return Addresses(found);
  const bool unknown = error == EAI_NONAME || error == EAI_NODATA;
  return Error{
      unknown ? Code::kInternal : Code::kUnavailable,
      "dial tcp: lookup " + url.host + ": " + (unknown ? "no such host" : ::gai_strerror(error))};
}

Error out_of_reach(const addrinfo& address) {
  return {Code::kPermissionDenied,
          "dial tcp " + address_text(address) +
              ": the address is this host's own, which is not reached for clients"};
}

/// Behind a proxy this host may be unable to resolve names: then there is nothing to check.
Result<void> check_reach(const Url& url) {
  const auto found = resolve(url);
  for (const addrinfo* address = found ? found->get() : nullptr; address;
       address = address->ai_next)
    if (is_local_address(*address->ai_addr)) return out_of_reach(*address);
  return {};
}

/// The first of the host's addresses that answers.
Result<base::UniqueFd> connect_to_host(const Url& url, const Timeouts& timeouts, Reach reach,
                                       const StopSignal& stop) {
  const auto found = resolve(url);
  if (!found) return found.error();
  Error failure{Code::kUnavailable, "dial tcp: lookup " + url.host + ": no such host"};
  for (const addrinfo* address = found->get(); address; address = address->ai_next) {
    if (reach == Reach::kOtherHosts && is_local_address(*address->ai_addr)) {
      failure = out_of_reach(*address);
      continue;
    }
    auto socket = connect_to(*address, timeouts.connect, stop);
    if (socket) return socket;
    if (stop.requested()) return stopped_error();
    failure = {socket.error().code,
               "dial tcp " + address_text(*address) + ": " + socket.error().message};
  }
  return failure;
}

}  // namespace

void Connection::FreeTls::operator()(ssl_st* tls) const { SSL_free(tls); }

Connection::~Connection() = default;

Result<std::unique_ptr<Connection>> Connection::open(const Url& url, const Proxy* proxy,
                                                     std::shared_ptr<const TlsContext> tls,
                                                     const Timeouts& timeouts, Reach reach,
                                                     const StopSignal& stop) {
  if (proxy != nullptr && reach == Reach::kOtherHosts) RETURN_IF_ERROR(check_reach(url));
  auto socket = proxy != nullptr ? connect_to_host(proxy->url, timeouts, Reach::kAnywhere, stop)
                                 : connect_to_host(url, timeouts, reach, stop);
  if (!socket) {
    if (proxy == nullptr || stop.requested()) return std::move(socket).error();
    return base::annotate(std::move(socket).error(), "proxyconnect tcp");
  }
  std::unique_ptr<Connection> connection(new Connection(*std::move(socket), timeouts));
  if (!url.is_tls()) return connection;
  // A peer that speaks no TLS, or is no proxy, may wait for a request: it gets the shorter time.
  connection->timeouts_.stall = timeouts.connect;
  if (proxy != nullptr) RETURN_IF_ERROR(connection->open_tunnel(url, *proxy, stop));
  RETURN_IF_ERROR(connection->start_tls(url, std::move(tls), stop));
  connection->timeouts_.stall = timeouts.stall;
  return connection;
}

/// RFC 9110, 9.3.6.
Result<void> Connection::open_tunnel(const Url& url, const Proxy& proxy, const StopSignal& stop) {
  constexpr std::size_t kMaxAnswerBytes = 16u << 10;
  const bool v6 = url.host.find(':') != std::string::npos;
  const std::string authority =
      (v6 ? "[" + url.host + "]" : url.host) + ":" + std::to_string(url.port);
  std::string request = "CONNECT " + authority + " HTTP/1.1\r\nHost: " + authority + "\r\n";
  if (!proxy.authorization.empty())
    request += "Proxy-Authorization: " + proxy.authorization + "\r\n";
  request += "\r\n";
  RETURN_IF_ERROR(write_all(std::as_bytes(std::span(request)), stop));

  http::response_parser<http::empty_body> parser;
  parser.skip(true);
  parser.header_limit(kMaxAnswerBytes);
  // Byte by byte: what follows the head is no longer the proxy's.
  std::string head;
  while (!head.ends_with("\r\n\r\n")) {
    std::byte next{};
    const auto got = read_some(std::span(&next, 1), stop);
    if (!got) return base::annotate(got.error(), "proxyconnect tcp");
    if (*got == 0) return Error{Code::kUnavailable, "proxyconnect tcp: EOF"};
    head += static_cast<char>(next);
    if (head.size() > kMaxAnswerBytes)
      return Error{Code::kInternal, "proxyconnect tcp: the proxy's answer is too long"};
  }
  boost::system::error_code error;
  parser.put(boost::asio::buffer(head), error);
  if (error || !parser.is_header_done())
    return Error{Code::kInternal, "proxyconnect tcp: the proxy's answer is no HTTP"};
  const unsigned status = parser.get().result_int();
  if (status / 100 == 2) return {};
  // The code's usual words: the proxy's own could be anything.
  const auto words = http::obsolete_reason(parser.get().result());
  return Error{status >= 500 ? Code::kUnavailable : Code::kInternal,
               "the proxy " + proxy.url.authority() + " opens no tunnel: " +
                   std::to_string(status) + " " + std::string(words.data(), words.size())};
}

Result<void> Connection::start_tls(const Url& url, std::shared_ptr<const TlsContext> context,
                                   const StopSignal& stop) {
  context_ = std::move(context);
  tls_.reset(SSL_new(context_->get()));
  if (!tls_ || SSL_set_fd(tls_.get(), socket_.get()) != 1)
    return Error{Code::kResourceExhausted, "tls: out of memory"};
  if (is_ip_address(url.host)) {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls_.get()), url.host.c_str());
  } else {
    SSL_set_tlsext_host_name(tls_.get(), url.host.c_str());
    SSL_set1_host(tls_.get(), url.host.c_str());
  }
  while (true) {
    ERR_clear_error();
    const int result = SSL_connect(tls_.get());
    if (result == 1) return {};
    if (SSL_get_error(tls_.get(), result) == SSL_ERROR_SSL && context_->verifies() &&
        SSL_get_verify_result(tls_.get()) != X509_V_OK) {
      ERR_clear_error();
      return certificate_error(tls_.get(), url.host);
    }
    RETURN_IF_ERROR(wait_for_tls(result, stop));
  }
}

Result<void> Connection::wait(short events, milliseconds time, const StopSignal& stop) const {
  return poll_for(socket_.get(), events, time, stop);
}

Result<void> Connection::wait_for_tls(int result, const StopSignal& stop) {
  switch (SSL_get_error(tls_.get(), result)) {
    case SSL_ERROR_WANT_READ:
      return wait(POLLIN, timeouts_.stall, stop);
    case SSL_ERROR_WANT_WRITE:
      return wait(POLLOUT, timeouts_.stall, stop);
    case SSL_ERROR_SYSCALL:
      return Error{Code::kUnavailable, errno == 0 ? "EOF" : lower_strerror(errno)};
    default:
      break;
  }
  const unsigned long error = ERR_peek_error();
  ERR_clear_error();
  const int reason = ERR_GET_REASON(error);
  if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST ||
      reason == SSL_R_PACKET_LENGTH_TOO_LONG)
    return Error{Code::kPermissionDenied, "http: server gave HTTP response to HTTPS client"};
  const char* text = ERR_reason_error_string(error);
  return Error{Code::kUnavailable, "remote error: tls: " + std::string(text ? text : "broken")};
}

Result<std::size_t> Connection::read_some(std::span<std::byte> out, const StopSignal& stop) {
  while (true) {
    if (stop.requested()) return stopped_error();
    if (tls_) {
      ERR_clear_error();
      errno = 0;
      const int got =
          SSL_read(tls_.get(), out.data(), static_cast<int>(std::min(out.size(), kMaxWriteBytes)));
      if (got > 0) return static_cast<std::size_t>(got);
      if (SSL_get_error(tls_.get(), got) == SSL_ERROR_ZERO_RETURN) return std::size_t{0};
      RETURN_IF_ERROR(wait_for_tls(got, stop));
      continue;
    }
    const ssize_t got = ::recv(socket_.get(), out.data(), out.size(), 0);
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return Error{Code::kUnavailable, "read: " + lower_strerror(errno)};
    RETURN_IF_ERROR(wait(POLLIN, timeouts_.stall, stop));
  }
}

Result<void> Connection::write_all(std::span<const std::byte> bytes, const StopSignal& stop) {
  while (!bytes.empty()) {
    if (stop.requested()) return stopped_error();
    const std::size_t size = std::min(bytes.size(), kMaxWriteBytes);
    if (tls_) {
      ERR_clear_error();
      errno = 0;
      const int put = SSL_write(tls_.get(), bytes.data(), static_cast<int>(size));
      if (put > 0) {
        bytes = bytes.subspan(static_cast<std::size_t>(put));
        continue;
      }
      RETURN_IF_ERROR(wait_for_tls(put, stop));
      continue;
    }
    const ssize_t put = ::send(socket_.get(), bytes.data(), size, MSG_NOSIGNAL);
    if (put >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(put));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return Error{Code::kUnavailable, "write: " + lower_strerror(errno)};
    RETURN_IF_ERROR(wait(POLLOUT, timeouts_.stall, stop));
  }
  return {};
}

bool Connection::is_fresh() const {
  std::byte byte{};
  const ssize_t got = ::recv(socket_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

}  // namespace registry
