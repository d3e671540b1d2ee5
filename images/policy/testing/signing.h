// Keys and signatures for tests, made by the openssl and gpg programs in a temporary directory.
#pragma once

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "images/store/testing/temporary_directory.h"
#include "images/store/values/base64.h"
#include "images/store/values/origin.h"

namespace images::testing {

inline void run_command(const std::string& command) {
  if (std::system((command + " >/dev/null 2>&1").c_str()) != 0) throw std::runtime_error(command);
}

inline std::string contents_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::string write_to(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

inline std::string payload_text(const std::string& type, const std::string& digest,
                                const std::string& reference, const nlohmann::json& optional) {
  return nlohmann::json({{"critical",
                          {{"type", type},
                           {"image", {{"docker-manifest-digest", digest}}},
                           {"identity", {{"docker-reference", reference}}}}},
                         {"optional", optional}})
      .dump();
}

/// What cosign signs.
inline std::string sigstore_payload(const std::string& digest, const std::string& reference) {
  return payload_text("cosign container image signature", digest, reference, nullptr);
}
/// What skopeo's standalone-sign signs.
inline std::string simple_payload(const std::string& digest, const std::string& reference) {
  return payload_text("atomic container signature", digest, reference,
                      {{"creator", "test"}, {"timestamp", 1'700'000'000}});
}

/// A key pair of `algorithm` (arguments of openssl genpkey).
class OpensslKey {
 public:
  explicit OpensslKey(const std::string& algorithm =
                          "-algorithm EC -pkeyopt "
                          "ec_paramgen_curve:P-256") {
    run_command("openssl genpkey " + algorithm + " -out " + (directory_ / "key"));
    run_command("openssl pkey -in " + (directory_ / "key") + " -pubout -out " + public_path());
  }
  std::string public_path() const { return directory_ / "key.pub"; }

  Signature sign(const std::string& payload, bool raw = false) const {
    write_to(directory_ / "payload", payload);
    run_command("openssl pkeyutl -sign -rawin " + std::string(raw ? "" : "-digest sha256 ") +
                "-inkey " + (directory_ / "key") + " -in " + (directory_ / "payload") + " -out " +
                (directory_ / "signature"));
    return {.kind = Signature::Kind::kSigstore,
            .payload = payload,
            .signature = to_base64(contents_of(directory_ / "signature"))};
  }

 private:
  TemporaryDirectory directory_;
};

/// A GnuPG home with one key; `time` is what gpg takes the present for ("20200101T000000").
class GpgKey {
 public:
  explicit GpgKey(const std::string& validity = "never", const std::string& time = "")
      : time_(time.empty() ? "" : " --faked-system-time " + time) {
    gpg("--quick-gen-key signer@example.com ed25519 sign " + validity);
    gpg("--output " + public_path() + " --export");
  }
  GpgKey(const GpgKey&) = delete;
  GpgKey& operator=(const GpgKey&) = delete;
  ~GpgKey() { (void)std::system(("gpgconf --homedir " + home_.path() + " --kill all").c_str()); }
  std::string public_path() const { return home_ / "public.gpg"; }

  Signature sign(const std::string& payload) const {
    write_to(home_ / "payload", payload);
    gpg("--yes --output " + (home_ / "signed") + " --sign " + (home_ / "payload"));
    return {.kind = Signature::Kind::kSimple,
            .payload = contents_of(home_ / "signed"),
            .signature = {}};
  }

 private:
  void gpg(const std::string& arguments) const {
    run_command("gpg --homedir " + home_.path() + time_ + " --batch --passphrase '' " + arguments);
  }

  TemporaryDirectory home_;
  std::string time_;
};

}  // namespace images::testing
