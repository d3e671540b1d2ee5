#include "images/policy/gpg_keyring.h"

#include <gpgme.h>
#include <stdlib.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "images/store/values/origin.h"

namespace images {

namespace {

/// Whoever is in the ring is trusted; only the ring counts.
constexpr std::string_view kSettings =
    "no-autostart\n"
    "no-auto-key-retrieve\n"
    "no-auto-key-import\n"
    "trust-model always\n"
    "max-output 65536\n";
static_assert(kMaxSignatureBytes == 65536);

base::Error failed(std::string_view what, gpgme_error_t error) {
  return {base::Code::kInternal, std::string(what) + ": " + ::gpgme_strerror(error)};
}

base::Error rejected(std::string why) { return {base::Code::kPermissionDenied, std::move(why)}; }

struct ReleaseData {
  void operator()(gpgme_data* data) const { ::gpgme_data_release(data); }
};
using Data = std::unique_ptr<gpgme_data, ReleaseData>;

Data data_of(std::string_view bytes) {
  gpgme_data_t data = nullptr;
  (void)::gpgme_data_new_from_mem(&data, bytes.data(), bytes.size(), 0);
  return Data(data);
}

/// gpg's output, bounded.
ssize_t append(void* text, const void* bytes, size_t size) {
  auto& out = *static_cast<std::string*>(text);
  if (out.size() + size > kMaxSignatureBytes) {
    errno = EFBIG;
    return -1;
  }
  out.append(static_cast<const char*>(bytes), size);
  return static_cast<ssize_t>(size);
}

/// GPGME wants to be asked for its version before anything else.
void begin_gpgme() {
  static const char* const version = ::gpgme_check_version(nullptr);
  (void)version;
}

base::Result<void> check_signature(const gpgme_verify_result_t result) {
  const gpgme_signature_t signature = result ? result->signatures : nullptr;
  if (!signature) return rejected("Invalid GPG signature: there is none");
  if (signature->next) return rejected("Unexpected GPG signature count: more than one");
  const std::string key = signature->fpr ? signature->fpr : "unknown";
  switch (::gpgme_err_code(signature->status)) {
    case GPG_ERR_NO_ERROR:
      break;
    case GPG_ERR_NO_PUBKEY:
      return rejected("Signature by key " + key + " is not accepted");
    default:
      return rejected("Invalid GPG signature by key " + key + ": " +
                      ::gpgme_strerror(signature->status));
  }
  if (signature->validity == GPGME_VALIDITY_NEVER || signature->wrong_key_usage ||
      ::gpgme_err_code(signature->validity_reason) != GPG_ERR_NO_ERROR)
    return rejected("Invalid GPG signature: key " + key + " may not sign");
  return {};
}

}  // namespace

void GpgKeyring::RemoveHome::operator()(std::string* path) const {
  std::error_code ignored;
  std::filesystem::remove_all(*path, ignored);
  delete path;
}

void GpgKeyring::Release::operator()(gpgme_context* context) const { ::gpgme_release(context); }

base::Result<GpgKeyring> GpgKeyring::make(const std::string& scratch,
                                          const std::vector<std::string>& keyrings) {
  begin_gpgme();
  std::string path = scratch + "/keyring-XXXXXX";
  if (!::mkdtemp(path.data())) return base::errno_error("make a directory in " + scratch);
  GpgKeyring ring;
  ring.home_.reset(new std::string(path));
  std::ofstream settings(path + "/gpg.conf");
  settings << kSettings;
  settings.close();
  if (!settings) return base::Error{base::Code::kInternal, "write " + path + "/gpg.conf"};

  gpgme_ctx_t context = nullptr;
  if (const auto error = ::gpgme_new(&context)) return failed("GPGME", error);
  ring.context_.reset(context);
  if (const auto error =
          ::gpgme_ctx_set_engine_info(context, GPGME_PROTOCOL_OpenPGP, nullptr, path.c_str()))
    return failed("GPGME", error);
  std::size_t count = 0;
  for (const std::string& keys : keyrings) RETURN_IF_ERROR(ring.import(keys, count));
  if (count == 0) return base::Error{base::Code::kInvalidArgument, "No public keys imported"};
  return ring;
}

base::Result<void> GpgKeyring::import(std::string_view keys, std::size_t& count) {
  const Data data = data_of(keys);
  if (!data) return base::Error{base::Code::kInternal, "out of memory"};
  if (const auto error = ::gpgme_op_import(context_.get(), data.get()))
    return failed("import of public keys", error);
  const gpgme_import_result_t result = ::gpgme_op_import_result(context_.get());
  for (auto status = result ? result->imports : nullptr; status; status = status->next)
    if (status->result == GPG_ERR_NO_ERROR) ++count;
  return {};
}

base::Result<std::string> GpgKeyring::open_signed(std::string_view message) const {
  std::string text;
  gpgme_data_cbs callbacks{.read = nullptr, .write = append, .seek = nullptr, .release = nullptr};
  gpgme_data_t out = nullptr;
  if (const auto error = ::gpgme_data_new_from_cbs(&out, &callbacks, &text))
    return failed("GPGME", error);
  const Data plain(out);
  const Data data = data_of(message);
  if (!data) return base::Error{base::Code::kInternal, "out of memory"};
  if (const auto error = ::gpgme_op_verify(context_.get(), data.get(), nullptr, plain.get()))
    return rejected("Invalid GPG signature: " + std::string(::gpgme_strerror(error)));
  RETURN_IF_ERROR(check_signature(::gpgme_op_verify_result(context_.get())));
  return text;
}

}  // namespace images
