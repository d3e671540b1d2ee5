// Base64 (RFC 4648, section 4) of bytes that others wrote.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace images {

std::string to_base64(std::string_view bytes);
/// With padding and without anything else, also no line breaks; nullopt otherwise.
std::optional<std::string> from_base64(std::string_view text);

}  // namespace images
