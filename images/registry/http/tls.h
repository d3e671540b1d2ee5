// TlsContext: the TLS settings of one registry: certificate authorities, client certificates, or no
// verification.
//
// Files: as with Docker, <directory>/<host[:port]>/ has *.crt, certificate authorities in addition
// to the system's, and *.cert with *.key, a client's certificate and key.
// Threads: immutable once made; shared by connections of any thread.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "vmm/base/result.h"

struct ssl_ctx_st;

namespace registry {

class TlsContext {
 public:
  /// Verifies certificates, also with the files in `directory`, which may be missing.
  /// kInvalidArgument, in Docker's words, if its files are not usable.
  static base::Result<std::shared_ptr<const TlsContext>> verifying(
      const std::filesystem::path& directory);
  /// Takes any certificate: for registries that are configured as insecure.
  static base::Result<std::shared_ptr<const TlsContext>> unverified();

  ssl_ctx_st* get() const { return context_.get(); }
  bool verifies() const { return verifies_; }

 private:
  struct Free {
    void operator()(ssl_ctx_st* context) const;
  };
  TlsContext(std::unique_ptr<ssl_ctx_st, Free> context, bool verifies)
      : context_(std::move(context)), verifies_(verifies) {}
  static base::Result<std::unique_ptr<ssl_ctx_st, Free>> make();

  std::unique_ptr<ssl_ctx_st, Free> context_;
  bool verifies_;
};

}  // namespace registry
