// What registries and clients write: manifests and indexes, WWW-Authenticate, X-Registry-Auth,
// URLs.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "images/registry/documents/challenge.h"
#include "images/registry/documents/credentials.h"
#include "images/registry/documents/manifest.h"
#include "images/registry/documents/url.h"
#include "images/store/values/base64.h"

namespace registry {
namespace {

void read_manifest(std::string_view text) {
  (void)kind_of("", text, "image");
  (void)kind_of(media::kOciManifest, text, "image");
  (void)parse_image_manifest(text);
  const auto entries = parse_index(text);
  if (!entries) return;
  const auto chosen = choose_platform(*entries, Platform::host());
  if (chosen && !matches(*chosen->platform, Platform::host())) std::abort();
}

void read_url(std::string_view text) {
  const auto base = Url::parse("https://host:5000/v2/a/blobs/uploads/1?state=x");
  const auto url = Url::parse(text);
  const auto resolved = base->resolve(text);
  for (const auto* one : {&url, &resolved}) {
    if (!*one) continue;
    // What was accepted is one request line, and means the same when it is read again.
    if ((*one)->target.find_first_of("\r\n ") != std::string::npos) std::abort();
    const auto again = Url::parse((*one)->text());
    if (!again || !again->same_origin(**one)) std::abort();
  }
  (void)Platform::parse(text);
}

}  // namespace
}  // namespace registry

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      registry::read_manifest(text);
      break;
    case 1:
      (void)registry::parse_challenges(text);
      break;
    case 2:
      (void)registry::parse_auth_header(text);
      (void)registry::parse_credentials(text);
      (void)registry::parse_auth_header(images::to_base64(text));
      break;
    default:
      registry::read_url(text);
  }
  return 0;
}
