#include "images/dockerfile/parser.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "images/dockerfile/text.h"
#include "vmm/base/letters.h"

namespace dockerfile {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;

namespace {

constexpr int kMaxOnBuildDepth = 8;

Error wrong(std::string message) { return {Code::kInvalidArgument, std::move(message)}; }

std::string_view trim_left(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  return text;
}

/// Words with their quotes and escapes, which Expansion takes away later.
std::vector<std::string> quoted_words(std::string_view text, char escape) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;
  char quote = '\0';
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote == '\0' && is_space(c)) {
      if (in_word) words.push_back(std::exchange(word, {}));
      in_word = false;
      continue;
    }
    if (c == escape && quote != '\'') {
      if (i + 1 == text.size()) break;  // one at the end of the line is dropped
      in_word = true;
      word += c;
      word += text[++i];
      continue;
    }
    in_word = true;
    if (c == quote) {
      quote = '\0';
    } else if (quote == '\0' && (c == '"' || c == '\'')) {
      quote = c;
    }
    word += c;
  }
  if (in_word) words.push_back(std::move(word));
  return words;
}

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  for (text = trim(text); !text.empty(); text = trim_left(text)) {
    const auto end = std::find_if(text.begin(), text.end(), is_space);
    const auto length = static_cast<std::size_t>(end - text.begin());
    words.emplace_back(text.substr(0, length));
    text.remove_prefix(length);
  }
  return words;
}

/// A JSON list of strings; nullopt if `text` is anything else, also if something follows the list.
Result<std::optional<std::vector<std::string>>> exec_form(std::string_view text) {
  using Words = std::optional<std::vector<std::string>>;
  text = trim_left(text);
  if (!text.starts_with('[')) return Words();
  // The list may hold strings only, so what is nested deeper is not parsed.
  constexpr int kDeepest = 2;
  const auto shallow = [](int depth, json::parse_event_t, json&) { return depth <= kDeepest; };
  const json parsed = json::parse(text.begin(), text.end(), shallow, false);
  if (!parsed.is_array()) return Words();
  std::vector<std::string> words;
  for (const json& item : parsed) {
    if (!item.is_string())
      return wrong("when using JSON array syntax, arrays must be comprised of strings only");
    words.push_back(item.get<std::string>());
  }
  return Words(std::move(words));
}

/// "A=1 B='2 3'", or "A the rest of the line".
Result<std::vector<std::string>> names_and_values(const std::string& keyword, std::string_view rest,
                                                  char escape) {
  std::vector<std::string> found;
  const std::vector<std::string> words = quoted_words(rest, escape);
  if (words.empty()) return found;
  if (words.front().find('=') == std::string::npos) {
    const auto end = std::find_if(rest.begin(), rest.end(), is_space);
    const auto length = static_cast<std::size_t>(end - rest.begin());
    if (length == rest.size()) return wrong(upper_case(keyword) + " must have two arguments");
    found.emplace_back(rest.substr(0, length));
    found.emplace_back(trim_left(rest.substr(length)));
    return found;
  }
  for (const std::string& word : words) {
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos)
      return wrong("Syntax error - can't find = in " + quote(word) +
                   ". Must be of the form: name=value");
    found.push_back(word.substr(0, equals));
    found.push_back(word.substr(equals + 1));
  }
  return found;
}

/// The flags in front of the arguments: "--chown=1:2 --from=x a b".
std::vector<std::string> take_flags(std::string_view& rest, char escape) {
  std::vector<std::string> flags;
  for (;;) {
    rest = trim_left(rest);
    if (!rest.starts_with("--")) return flags;
    std::string flag;
    char quote = '\0';
    std::size_t i = 0;
    for (; i < rest.size() && (quote != '\0' || !is_space(rest[i])); ++i) {
      const char c = rest[i];
      if (c == escape && i + 1 < rest.size()) {
        flag += rest[++i];
      } else if (c == quote) {
        quote = '\0';
      } else if (quote == '\0' && (c == '"' || c == '\'')) {
        quote = c;
      } else {
        flag += c;
      }
    }
    rest.remove_prefix(i);
    if (flag == "--") return flags;
    flags.push_back(std::move(flag));
  }
}

enum class Form {
  kUnknown,
  kCommand,
  kList,
  kPairs,
  kWords,
  kQuotedWords,
  kText,
  kHealth,
  kNested
};

Form form_of(std::string_view keyword) {
  struct Row {
    std::string_view keyword;
    Form form;
  };
  constexpr Row kForms[] = {
      {"add", Form::kList},     {"arg", Form::kQuotedWords},    {"cmd", Form::kCommand},
      {"copy", Form::kList},    {"entrypoint", Form::kCommand}, {"env", Form::kPairs},
      {"expose", Form::kWords}, {"from", Form::kWords},         {"healthcheck", Form::kHealth},
      {"label", Form::kPairs},  {"maintainer", Form::kText},    {"onbuild", Form::kNested},
      {"run", Form::kCommand},  {"shell", Form::kCommand},      {"stopsignal", Form::kText},
      {"user", Form::kText},    {"volume", Form::kList},        {"workdir", Form::kText}};
  for (const Row& row : kForms)
    if (row.keyword == keyword) return row.form;
  return Form::kUnknown;
}

Result<void> parse_command(std::string_view text, Statement& statement) {
  if (text.empty()) return {};
  auto words = exec_form(text);
  if (!words) return std::move(words).error();
  statement.exec_form = words->has_value();
  if (*words) {
    for (std::string& word : **words) statement.arguments.push_back(std::move(word));
  } else {
    statement.arguments.emplace_back(text);
  }
  return {};
}

Result<Statement> parse_at(std::string_view text, char escape, int depth);

Result<void> parse_arguments(char escape, int depth, Statement& statement) {
  const std::string_view rest = statement.rest;
  switch (form_of(statement.keyword)) {
    case Form::kUnknown:
      return {};  // check() (instructions.h) refuses it
    case Form::kCommand:
      return parse_command(rest, statement);
    case Form::kList: {
      auto words = exec_form(rest);
      if (!words) return std::move(words).error();
      statement.exec_form = words->has_value();
      statement.arguments = *words ? **std::move(words) : words_of(rest);
      return {};
    }
    case Form::kPairs: {
      auto pairs = names_and_values(statement.keyword, rest, escape);
      if (!pairs) return std::move(pairs).error();
      statement.arguments = *std::move(pairs);
      return {};
    }
    case Form::kWords:
      statement.arguments = words_of(rest);
      return {};
    case Form::kQuotedWords:
      statement.arguments = quoted_words(rest, escape);
      return {};
    case Form::kText:
      if (!rest.empty()) statement.arguments.emplace_back(rest);
      return {};
    case Form::kHealth: {
      const auto end = std::find_if(rest.begin(), rest.end(), is_space);
      const auto length = static_cast<std::size_t>(end - rest.begin());
      if (length == 0) return {};
      statement.arguments.emplace_back(rest.substr(0, length));
      return parse_command(trim_left(rest.substr(length)), statement);
    }
    case Form::kNested: {
      if (rest.empty()) return {};
      auto inner = parse_at(rest, escape, depth + 1);
      if (!inner) return std::move(inner).error();
      statement.arguments = {inner->keyword};
      return {};
    }
  }
  return {};
}

Result<Statement> parse_at(std::string_view text, char escape, int depth) {
  if (depth > kMaxOnBuildDepth) return wrong("instructions are nested too deeply");
  Statement statement;
  statement.text = text;
  std::string_view rest = trim(text);
  const auto end = std::find_if(rest.begin(), rest.end(), is_space);
  const auto length = static_cast<std::size_t>(end - rest.begin());
  statement.keyword = base::lower_case(rest.substr(0, length));
  rest.remove_prefix(length);
  statement.flags = take_flags(rest, escape);
  statement.rest = trim(rest);
  RETURN_IF_ERROR(parse_arguments(escape, depth, statement));
  return statement;
}

/// Looks for "# escape=`" in front of everything else.
class Directives {
 public:
  Result<void> look(std::string_view line, char& escape) {
    if (done_) return {};
    done_ = true;
    line = trim(line);
    if (!line.starts_with('#')) return {};
    line = trim_left(line.substr(1));
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) return {};
    const std::string name = base::lower_case(trim(line.substr(0, equals)));
    const std::string_view value = trim(line.substr(equals + 1));
    if ((name != "escape" && name != "syntax") || value.empty()) return {};
    if (!seen_.insert(name).second)
      return wrong("only one " + name + " parser directive can be used");
    done_ = false;
    if (name == "syntax") return {};
    if (value != "`" && value != "\\")
      return wrong("invalid escape token '" + std::string(value) + "' does not match ` or \\");
    escape = value.front();
    return {};
  }

 private:
  bool done_ = false;
  std::set<std::string> seen_;
};

/// Takes the escape character away that joins the line with the next.
bool take_continuation(std::string_view& line, char escape) {
  std::string_view head = line;
  while (!head.empty() && (head.back() == ' ' || head.back() == '\t')) head.remove_suffix(1);
  if (!head.ends_with(escape)) return false;
  line = head.substr(0, head.size() - 1);
  return true;
}

class Lines {
 public:
  explicit Lines(std::string_view text) : rest_(text) {}

  std::optional<std::string_view> next() {
    if (rest_.empty()) return std::nullopt;
    std::string_view line = rest_.substr(0, rest_.find('\n'));
    rest_.remove_prefix(std::min(rest_.size(), line.size() + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    ++number_;
    return line;
  }
  int number() const { return number_; }

 private:
  std::string_view rest_;
  int number_ = 0;
};

bool is_comment(std::string_view line) { return trim_left(line).starts_with('#'); }

struct Joined {
  std::string text;
  bool empty_line = false;  // a continuation line had nothing in it
};

/// The lines that continue `first`.
Result<Joined> join(std::string_view first, Lines& lines, char escape) {
  Joined joined;
  bool more = take_continuation(first, escape);
  joined.text = first;
  while (more) {
    auto line = lines.next();
    if (!line) break;
    if (is_comment(*line)) continue;
    if (trim(*line).empty()) {
      joined.empty_line = true;
      continue;
    }
    more = take_continuation(*line, escape);
    joined.text += *line;
    if (line->size() > kMaxLine || joined.text.size() > 16 * kMaxLine)
      return wrong("dockerfile line greater than max allowed size of " + std::to_string(kMaxLine));
  }
  return joined;
}

}  // namespace

Result<Statement> parse_statement(std::string_view text, char escape) {
  return parse_at(text, escape, 0);
}

Result<ParsedFile> parse(std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  ParsedFile file;
  Directives directives;
  Lines lines(text);
  while (auto line = lines.next()) {
    RETURN_IF_ERROR(directives.look(*line, file.escape));
    if (line->size() > kMaxLine)
      return wrong("dockerfile line greater than max allowed size of " + std::to_string(kMaxLine));
    if (is_comment(*line) || trim(*line).empty()) continue;
    const int number = lines.number();
    const auto joined = join(trim_left(*line), lines, file.escape);
    if (!joined) return joined.error();
    if (joined->empty_line)
      file.warnings.push_back("[WARNING]: Empty continuation line found in: " + joined->text);
    if (trim(joined->text).empty()) continue;
    auto statement = parse_at(joined->text, file.escape, 0);
    if (!statement) return std::move(statement).error();
    statement->line = number;
    file.statements.push_back(*std::move(statement));
  }
  if (file.statements.empty()) return wrong("file with no instructions");
  if (!file.warnings.empty())
    file.warnings.emplace_back(
        "[WARNING]: Empty continuation lines will become errors in a future release.");
  return file;
}

}  // namespace dockerfile
