// Connection: one TCP connection, with TLS or without. Its calls block, but never without end.
//
// A wait ends when no byte came for `stall`, or with the StopSignal. The process must ignore
// SIGPIPE. Threads: one at a time. Trust: the peer is hostile.
// Errors: kUnavailable for what may be better next time (refused, reset, stopped),
// kDeadlineExceeded for a stall, kPermissionDenied for a certificate that does not verify; in Go's
// words.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "images/registry/documents/url.h"
#include "images/registry/http/proxy.h"
#include "images/registry/http/stop_signal.h"
#include "images/registry/http/tls.h"
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

struct ssl_st;

namespace registry {

struct Timeouts {
  std::chrono::milliseconds connect{15'000};
  std::chrono::milliseconds stall{60'000};
};

/// Where a connection may lead.
enum class Reach {
  kAnywhere,
  kOtherHosts,  // not to local addresses (local_address.h)
};

class Connection {
 public:
  /// `tls` is used if the URL is https. With a `proxy` (nullptr: none), https goes through a
  /// tunnel; http leads to the proxy itself, which wants to be told the whole URL. The proxy may be
  /// anywhere; `reach` is asked of the addresses of the URL's host, as far as this host knows them.
  static base::Result<std::unique_ptr<Connection>> open(const Url& url, const Proxy* proxy,
                                                        std::shared_ptr<const TlsContext> tls,
                                                        const Timeouts& timeouts, Reach reach,
                                                        const StopSignal& stop);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// 0 when the peer has closed.
  base::Result<std::size_t> read_some(std::span<std::byte> out, const StopSignal& stop);
  base::Result<void> write_all(std::span<const std::byte> bytes, const StopSignal& stop);
  /// Whether an idle connection is still open and silent, and so fit for another request.
  bool is_fresh() const;

 private:
  struct FreeTls {
    void operator()(ssl_st* tls) const;
  };
  Connection(base::UniqueFd socket, Timeouts timeouts)
      : socket_(std::move(socket)), timeouts_(timeouts) {}

  base::Result<void> open_tunnel(const Url& url, const Proxy& proxy, const StopSignal& stop);
  base::Result<void> start_tls(const Url& url, std::shared_ptr<const TlsContext> context,
                               const StopSignal& stop);
  base::Result<void> wait(short events, std::chrono::milliseconds time,
                          const StopSignal& stop) const;
  /// Waits for what OpenSSL wants after `result`; an Error if it wants nothing.
  base::Result<void> wait_for_tls(int result, const StopSignal& stop);

  base::UniqueFd socket_;
  Timeouts timeouts_;
  std::shared_ptr<const TlsContext> context_;
  std::unique_ptr<ssl_st, FreeTls> tls_;
};

}  // namespace registry
