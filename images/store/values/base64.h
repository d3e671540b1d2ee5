// Base64 (RFC 4648, section 4) of bytes that others wrote.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace images {

std::string to_base64(std::string_view bytes);
/// The bytes of a text with its padding; nullopt if anything else is in it, such as a line break.
std::optional<std::string> from_base64(std::string_view text);

}  // namespace images
