#include "images/registry/documents/challenge.h"

#include <algorithm>
#include <optional>

#include "vmm/base/letters.h"

namespace registry {

namespace {

constexpr std::size_t kMaxParameters = 32;

bool is_token_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  bool at_end() const { return text_.empty(); }
  void skip_spaces() {
    while (!text_.empty() && (text_.front() == ' ' || text_.front() == '\t'))
      text_.remove_prefix(1);
  }
  bool take(char c) {
    if (text_.empty() || text_.front() != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  std::string_view token() {
    std::size_t length = 0;
    while (length < text_.size() && is_token_char(text_[length])) ++length;
    const std::string_view token = text_.substr(0, length);
    text_.remove_prefix(length);
    return token;
  }
  /// A token or a quoted string.
  std::optional<std::string> value() {
    if (!take('"')) {
      const std::string_view text = token();
      return text.empty() ? std::nullopt : std::optional<std::string>(text);
    }
    std::string value;
    while (!text_.empty()) {
      char c = text_.front();
      text_.remove_prefix(1);
      if (c == '"') return value;
      if (c == '\\' && !text_.empty()) {
        c = text_.front();
        text_.remove_prefix(1);
      }
      value += c;
    }
    return std::nullopt;  // never closed
  }

  std::string_view rest() const { return text_; }
  void reset_to(std::string_view rest) { text_ = rest; }

 private:
  std::string_view text_;
};

/// name "=" value; leaves `scanner` alone if that is not what comes.
bool take_parameter(Scanner& scanner, Challenge& challenge) {
  const std::string_view begin = scanner.rest();
  const std::string_view name = scanner.token();
  scanner.skip_spaces();
  if (name.empty() || !scanner.take('=')) {
    scanner.reset_to(begin);
    return false;
  }
  scanner.skip_spaces();
  auto value = scanner.value();
  if (!value) {
    scanner.reset_to(begin);
    return false;
  }
  if (challenge.parameters.size() < kMaxParameters)
    challenge.parameters.emplace(base::lower_case(name), *std::move(value));
  return true;
}

}  // namespace

std::string Challenge::parameter(const std::string& name) const {
  const auto found = parameters.find(name);
  return found == parameters.end() ? "" : found->second;
}

std::vector<Challenge> parse_challenges(std::string_view header) {
  std::vector<Challenge> challenges;
  Scanner scanner(header);
  while (!scanner.at_end() && challenges.size() < kMaxChallenges) {
    scanner.skip_spaces();
    if (scanner.take(',')) continue;
    Challenge challenge{.scheme = base::lower_case(scanner.token()), .parameters = {}};
    if (challenge.scheme.empty()) break;  // no challenge begins so: the rest means nothing
    scanner.skip_spaces();
    while (take_parameter(scanner, challenge)) {
      scanner.skip_spaces();
      while (scanner.take(',')) scanner.skip_spaces();
    }
    challenges.push_back(std::move(challenge));
  }
  return challenges;
}

}  // namespace registry
