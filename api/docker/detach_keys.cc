#include "api/docker/detach_keys.h"

#include <string>

namespace docker {

using base::Code;
using base::Error;
using base::Result;

namespace {

/// One key's byte; -1 if `name` is no key.
int byte_of(std::string_view name) {
  if (name.size() == 1) return static_cast<unsigned char>(name[0]);
  if (name.size() != 6 || !name.starts_with("ctrl-")) return -1;
  const char key = name[5];
  if (key >= 'a' && key <= 'z') return key - 'a' + 1;
  if (key == '@') return 0;
  if (key >= '[' && key <= '_') return key - '[' + 27;
  return -1;
}

}  // namespace

Result<DetachKeys> DetachKeys::parse(std::string_view text) {
  if (text.empty()) text = "ctrl-p,ctrl-q";
  const std::string_view whole = text;
  DetachKeys result;
  while (true) {
    const std::string_view name = text.substr(0, text.find(','));
    const int byte = byte_of(name);
    if (byte < 0 || result.keys_.size() >= 64)
      return Error{Code::kInvalidArgument,
                   "Invalid detach keys (" + std::string(whole.substr(0, 64)) + ") provided"};
    result.keys_.push_back(static_cast<std::byte>(byte));
    if (name.size() == text.size()) return result;
    text.remove_prefix(name.size() + 1);
  }
}

DetachKeys::Scan DetachKeys::scan(std::span<const std::byte> input) {
  Scan result;
  for (const std::byte byte : input) {
    if (byte == keys_[matched_]) {
      if (++matched_ < keys_.size()) continue;
      matched_ = 0;
      result.detach = true;
      return result;
    }
    // Not the sequence after all: what was held back passes, and this byte may begin a new one.
    result.pass.insert(result.pass.end(), keys_.begin(),
                       keys_.begin() + static_cast<std::ptrdiff_t>(matched_));
    matched_ = byte == keys_[0] ? 1 : 0;
    if (matched_ == 0) result.pass.push_back(byte);
    if (matched_ == keys_.size()) {
      matched_ = 0;
      result.detach = true;
      return result;
    }
  }
  return result;
}

}  // namespace docker
