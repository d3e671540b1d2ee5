#include "images/dockerfile/expansion.h"

#include "images/dockerfile/text.h"

namespace dockerfile {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr int kMaxDepth = 32;
constexpr std::size_t kMaxExpanded = 1u << 20;

Error wrong(std::string message) { return {Code::kInvalidArgument, std::move(message)}; }

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_name_character(char c) {
  // Go asks for Unicode letters: bytes of other letters than ASCII's count as such.
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

/// What has been read of a text: as one word, and split.
struct Output {
  std::string whole;
  std::vector<std::string> words;
  std::string word;

  void add_raw(std::string_view text) {
    whole += text;
    word += text;
  }
  /// Adds text whose spaces divide words.
  void add(std::string_view text) {
    whole += text;
    for (const char c : text) {
      if (!is_space(c)) {
        word += c;
      } else if (!word.empty()) {
        words.push_back(std::exchange(word, {}));
      }
    }
  }
  void finish() {
    if (!word.empty()) words.push_back(std::exchange(word, {}));
  }
};

class Reader {
 public:
  Reader(char escape, const std::vector<std::string>& environment, std::string_view text)
      : escape_(escape), environment_(environment), text_(text) {}

  /// To the end of the text, or to `stop`, which is consumed.
  Result<Output> read(std::optional<char> stop, int depth) {
    if (depth > kMaxDepth) return wrong("substitutions are nested too deeply");
    Output out;
    while (!at_end()) {
      if (stop && peek() == *stop) {
        ++at_;
        out.finish();
        return out;
      }
      RETURN_IF_ERROR(step(out, depth));
      if (out.whole.size() > kMaxExpanded) return wrong("the word is too long when expanded");
    }
    if (stop)
      return wrong(std::string("unexpected end of statement while looking for matching ") + *stop);
    out.finish();
    return out;
  }

 private:
  bool at_end() const { return at_ >= text_.size(); }
  char peek() const { return text_[at_]; }

  Result<void> step(Output& out, int depth) {
    const char c = peek();
    if (c == '\'') return single_quote(out);
    if (c == '"') return double_quote(out, depth);
    if (c == '$') {
      auto value = dollar(depth);
      if (!value) return std::move(value).error();
      out.add(*value);
      return {};
    }
    ++at_;
    if (c != escape_) {
      out.add({&c, 1});
    } else if (!at_end()) {  // one at the end of the text is dropped
      out.add_raw(text_.substr(at_++, 1));
    }
    return {};
  }

  Result<void> single_quote(Output& out) {
    const std::size_t end = text_.find('\'', at_ + 1);
    if (end == std::string_view::npos)
      return wrong("unexpected end of statement while looking for matching single-quote");
    out.add_raw(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return {};
  }

  Result<void> double_quote(Output& out, int depth) {
    std::string inside;
    ++at_;
    while (!at_end() && peek() != '"') {
      if (peek() == '$') {
        auto value = dollar(depth);
        if (!value) return std::move(value).error();
        inside += *value;
        if (inside.size() > kMaxExpanded) return wrong("the word is too long when expanded");
        continue;
      }
      const char c = text_[at_++];
      if (c == escape_) {
        if (at_end()) break;
        if (peek() == '"' || peek() == '$' || peek() == escape_) {
          inside += text_[at_++];
          continue;
        }
      }
      inside += c;
    }
    if (at_end())
      return wrong("unexpected end of statement while looking for matching double-quote");
    ++at_;
    out.add_raw(inside);
    return {};
  }

  /// A name, a number, or one of the shell's special parameters; "" if there is none.
  std::string name() {
    const std::size_t begin = at_;
    if (at_end()) return {};
    if (is_digit(peek())) {
      while (!at_end() && is_digit(peek())) ++at_;
    } else if (std::string_view("@*#?-$!").find(peek()) != std::string_view::npos) {
      ++at_;
    } else {
      while (!at_end() && is_name_character(peek())) ++at_;
    }
    return std::string(text_.substr(begin, at_ - begin));
  }

  Result<std::string> dollar(int depth) {
    ++at_;
    if (at_end() || peek() != '{') {
      const std::string variable = name();
      if (variable.empty()) return std::string("$");
      return value_in(environment_, variable).value_or("");
    }
    ++at_;
    if (at_end()) return wrong("syntax error: missing '}'");
    if (peek() == '{' || peek() == '}' || peek() == ':')
      return wrong("syntax error: bad substitution");
    const std::string variable = name();
    // Docker's lexer shows the end of the text as U+FFFD.
    if (at_end()) return wrong("unsupported modifier (\xef\xbf\xbd) in substitution");
    const auto value = value_in(environment_, variable);
    if (peek() == '}') {
      ++at_;
      return value.value_or("");
    }
    return modified(variable, value, depth);
  }

  Result<std::string> modified(const std::string& variable, const std::optional<std::string>& value,
                               int depth) {
    const std::size_t begin = at_;
    const bool empty_is_unset = text_[at_] == ':';
    if (empty_is_unset) ++at_;
    const char kind = at_end() ? '\0' : text_[at_++];
    if (std::string_view("+-?").find(kind) == std::string_view::npos || kind == '\0')
      return wrong("unsupported modifier (" + std::string(text_.substr(begin, at_ - begin)) +
                   ") in substitution");
    const auto word = read('}', depth + 1);
    if (!word) return at_end() ? wrong("syntax error: missing '}'") : word.error();
    const bool set = value && !(empty_is_unset && value->empty());
    if (kind == '-') return set ? *value : word->whole;
    if (kind == '+') return set ? word->whole : std::string();
    if (set) return *value;
    const std::string why = value ? "is not allowed to be empty" : "is not allowed to be unset";
    return wrong(variable + ": " + (word->whole.empty() ? why : word->whole));
  }

  const char escape_;
  const std::vector<std::string>& environment_;
  const std::string_view text_;
  std::size_t at_ = 0;
};

Result<Output> expand(char escape, const std::vector<std::string>& environment,
                      std::string_view text) {
  auto out = Reader(escape, environment, text).read(std::nullopt, 0);
  if (out) return out;
  return base::annotate(std::move(out), "failed to process " + quote(text));
}

}  // namespace

Result<std::string> Expansion::word(std::string_view text) const {
  auto out = expand(escape_, environment_, text);
  if (!out) return std::move(out).error();
  return std::move(out->whole);
}

Result<std::vector<std::string>> Expansion::words(std::string_view text) const {
  auto out = expand(escape_, environment_, text);
  if (!out) return std::move(out).error();
  return std::move(out->words);
}

}  // namespace dockerfile
