// What registries, their token servers and indexes answer: bodies and headers.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "images/registry/documents/answers.h"
#include "images/registry/documents/signature_manifest.h"
#include "images/store/values/origin.h"

namespace registry {
namespace {

bool is_printable(std::string_view text) {
  for (const char c : text)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) return false;
  return true;
}

void read_token(std::string_view text) {
  const auto answer = parse_token_answer(text);
  if (!answer) return;
  // It becomes the value of a header, as it is.
  if (answer->token.empty() || !is_printable(answer->token)) std::abort();
  if (answer->token.find(' ') != std::string::npos || !is_printable(answer->refresh)) std::abort();
  if (answer->lifetime < std::chrono::seconds(1)) std::abort();
}

void read_errors(std::string_view text) {
  for (const int status : {401, 403, 404, 500})
    if (const auto error = parse_error_answer(text, status); error && !is_printable(error->message))
      std::abort();
  if (const auto error = parse_token_error(parse_challenges(text));
      error && !is_printable(error->message))
    std::abort();
}

void read_lists(std::string_view text) {
  (void)parse_tag_list(text);
  if (const auto found = parse_found_images(text, 25); found && found->size() > 25) std::abort();
  if (const auto layers = parse_signature_manifest(text);
      layers && layers->size() > images::kMaxSignatures)
    std::abort();
}

void read_headers(std::string_view text) {
  (void)next_link(std::string(text));
  (void)parse_number(text);
  (void)parse_range_start(text);
  (void)parse_upload_offset(text);
}

}  // namespace
}  // namespace registry

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0:
      registry::read_token(text);
      break;
    case 1:
      registry::read_errors(text);
      break;
    case 2:
      registry::read_lists(text);
      break;
    default:
      registry::read_headers(text);
  }
  return 0;
}
