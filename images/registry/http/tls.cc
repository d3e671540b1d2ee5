#include "images/registry/http/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <vector>

namespace registry {

namespace fs = std::filesystem;
using base::Code;
using base::Error;
using base::Result;

namespace {

Error tls_error(std::string_view what) {
  const unsigned long error = ERR_get_error();
  const char* reason = error ? ERR_reason_error_string(error) : nullptr;
  ERR_clear_error();
  return {Code::kInvalidArgument, std::string(what) + ": " + (reason ? reason : "not usable")};
}

Result<std::vector<fs::path>> files_in(const fs::path& directory) {
  std::vector<fs::path> files;
  std::error_code error;
  fs::directory_iterator entry(directory, error);
  if (error == std::errc::no_such_file_or_directory) return files;
  for (; !error && entry != fs::directory_iterator(); entry.increment(error))
    files.push_back(entry->path());
  if (error) return base::errno_error("read " + directory.string(), error.value());
  std::sort(files.begin(), files.end());
  return files;
}

Result<void> add_client_certificate(SSL_CTX* context, const fs::path& certificate) {
  fs::path key = certificate;
  key.replace_extension(".key");
  std::error_code error;
  if (!fs::exists(key, error))
    return Error{Code::kInvalidArgument, "missing key " + key.filename().string() +
                                             " for client certificate " +
                                             certificate.filename().string() +
                                             ". CA certificates must use the extension .crt"};
  if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1)
    return tls_error(certificate.string());
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1)
    return tls_error(key.string());
  return {};
}

Result<void> use_file(SSL_CTX* context, const fs::path& file) {
  if (file.extension() == ".crt") {
    if (SSL_CTX_load_verify_file(context, file.c_str()) != 1) return tls_error(file.string());
  } else if (file.extension() == ".cert") {
    return add_client_certificate(context, file);
  } else if (file.extension() == ".key") {
    fs::path certificate = file;
    certificate.replace_extension(".cert");
    std::error_code error;
    if (!fs::exists(certificate, error))
      return Error{Code::kInvalidArgument, "missing client certificate " +
                                               certificate.filename().string() + " for key " +
                                               file.filename().string()};
  }
  return {};
}

}  // namespace

void TlsContext::Free::operator()(ssl_ctx_st* context) const { SSL_CTX_free(context); }

Result<std::unique_ptr<ssl_ctx_st, TlsContext::Free>> TlsContext::make() {
  std::unique_ptr<ssl_ctx_st, Free> context(SSL_CTX_new(TLS_client_method()));
  if (!context || SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION) != 1)
    return tls_error("TLS");
  // A registry that just closes is no attack: lengths and digests tell what is missing.
  SSL_CTX_set_options(context.get(), SSL_OP_IGNORE_UNEXPECTED_EOF);
  return context;
}

Result<std::shared_ptr<const TlsContext>> TlsContext::verifying(const fs::path& directory) {
  auto context = make();
  if (!context) return std::move(context).error();
  // Without a system's store only the registry's own authorities count.
  (void)SSL_CTX_set_default_verify_paths(context->get());
  ERR_clear_error();
  SSL_CTX_set_verify(context->get(), SSL_VERIFY_PEER, nullptr);
  auto files = files_in(directory);
  if (!files) return std::move(files).error();
  for (const fs::path& file : *files) RETURN_IF_ERROR(use_file(context->get(), file));
  return std::shared_ptr<const TlsContext>(new TlsContext(*std::move(context), true));
}

Result<std::shared_ptr<const TlsContext>> TlsContext::unverified() {
  auto context = make();
  if (!context) return std::move(context).error();
  SSL_CTX_set_verify(context->get(), SSL_VERIFY_NONE, nullptr);
  return std::shared_ptr<const TlsContext>(new TlsContext(*std::move(context), false));
}

}  // namespace registry
