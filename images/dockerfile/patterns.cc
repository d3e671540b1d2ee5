#include "images/dockerfile/patterns.h"

#include <algorithm>
#include <optional>

#include "images/dockerfile/text.h"

namespace dockerfile {

using base::Code;
using base::Error;
using base::Result;

namespace {

Error malformed() { return {Code::kInvalidArgument, "syntax error in pattern"}; }

/// One character of a pattern, escaped or not; moves `at` behind it.
std::optional<char> character(std::string_view pattern, std::size_t& at) {
  if (at >= pattern.size()) return std::nullopt;
  if (pattern[at] == '\\' && ++at >= pattern.size()) return std::nullopt;
  return pattern[at++];
}

/// The set at pattern[at] == '['; moves `at` behind it. nullopt: malformed.
std::optional<bool> in_set(std::string_view pattern, std::size_t& at, char c) {
  ++at;
  const bool negated = at < pattern.size() && pattern[at] == '^';
  if (negated) ++at;
  bool found = false;
  bool any = false;
  while (at < pattern.size()) {
    if (pattern[at] == ']' && any) {
      ++at;
      return found != negated && c != '/';
    }
    any = true;
    if (pattern[at] == '-' || pattern[at] == ']') return std::nullopt;
    const auto low = character(pattern, at);
    if (!low || at >= pattern.size()) return std::nullopt;
    auto high = low;
    if (pattern[at] == '-') {
      ++at;
      if (at < pattern.size() && (pattern[at] == '-' || pattern[at] == ']')) return std::nullopt;
      high = character(pattern, at);
      if (!high) return std::nullopt;
    }
    const auto code = [](char x) { return static_cast<unsigned char>(x); };
    found = found || (code(*low) <= code(c) && code(c) <= code(*high));
  }
  return std::nullopt;
}

/// Whether what stands at pattern[at], not a star, matches `c`; moves `at` behind it.
std::optional<bool> one(std::string_view pattern, std::size_t& at, char c) {
  if (pattern[at] == '[') return in_set(pattern, at, c);
  if (pattern[at] == '?') {
    ++at;
    return c != '/';
  }
  const auto wanted = character(pattern, at);
  if (!wanted) return std::nullopt;
  return *wanted == c;
}

Result<void> check_pattern(std::string_view pattern) {
  for (std::size_t at = 0; at < pattern.size();) {
    if (pattern[at] == '*') {
      ++at;
    } else if (!one(pattern, at, 'x')) {
      return malformed();
    }
  }
  return {};
}

/// `**` stands for any number of parts. can[n]: the pattern so far can match the first n of `path`.
bool matches_parts(const std::vector<std::string>& pattern, const std::vector<std::string>& path) {
  std::vector<bool> can(path.size() + 1, false);
  can[0] = true;
  for (const std::string& part : pattern) {
    std::vector<bool> next(path.size() + 1, false);
    if (part == "**") {
      bool before = false;
      for (std::size_t i = 0; i <= path.size(); ++i) next[i] = before = before || can[i];
    } else {
      for (std::size_t i = 0; i < path.size(); ++i) {
        if (!can[i]) continue;
        const auto same = matches(part, path[i]);
        next[i + 1] = same && *same;
      }
    }
    can = std::move(next);
  }
  return can.back();
}

std::vector<std::string> parts_of(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const std::string_view part = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(path.size(), part.size() + 1));
    if (!part.empty()) parts.emplace_back(part);
  }
  return parts;
}

}  // namespace

bool has_wildcards(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '*' || text[i] == '?' || text[i] == '[') {
      return true;
    }
  }
  return false;
}

Result<bool> matches(std::string_view pattern, std::string_view name) {
  RETURN_IF_ERROR(check_pattern(pattern));
  std::size_t at = 0;
  std::size_t read = 0;
  // The last star, and up to where it matches. If the rest fails, only that star is made longer.
  std::optional<std::size_t> star;
  std::size_t taken = 0;
  while (read < name.size() || at < pattern.size()) {
    if (at < pattern.size() && pattern[at] == '*') {
      star = at++;
      taken = read;
      continue;
    }
    std::size_t next = at;
    if (read < name.size() && at < pattern.size() && one(pattern, next, name[read]) == true) {
      at = next;
      ++read;
      continue;
    }
    if (!star || taken >= name.size() || name[taken] == '/') return false;
    read = ++taken;
    at = *star + 1;
  }
  return true;
}

Result<IgnoreList> IgnoreList::parse(std::string_view text) {
  constexpr std::size_t kMaxPatterns = 10'000;
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  IgnoreList list;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (line.starts_with('#')) continue;
    line = trim(line);
    if (line.empty()) continue;
    const bool exception = line.starts_with('!');
    if (exception) line = trim(line.substr(1));
    if (line.empty()) return Error{Code::kInvalidArgument, "illegal exclusion pattern: \"!\""};
    std::string path = clean_path(line);
    if (path.size() > 1 && path.starts_with('/')) path.erase(0, 1);
    if (path == ".") continue;
    Pattern pattern{.parts = parts_of(path), .exception = exception};
    for (const std::string& part : pattern.parts) RETURN_IF_ERROR(check_pattern(part));
    list.patterns_.push_back(std::move(pattern));
    if (list.patterns_.size() > kMaxPatterns)
      return Error{Code::kResourceExhausted, "the .dockerignore has too many patterns"};
  }
  return list;
}

bool IgnoreList::ignores(std::string_view path) const {
  const std::vector<std::string> parts = parts_of(clean_path(path));
  bool ignored = false;
  for (const Pattern& pattern : patterns_) {
    if (pattern.exception != ignored) continue;  // it would change nothing
    std::vector<std::string> head;
    for (const std::string& part : parts) {
      head.push_back(part);
      if (!matches_parts(pattern.parts, head)) continue;
      ignored = !pattern.exception;
      break;
    }
  }
  return ignored;
}

}  // namespace dockerfile
