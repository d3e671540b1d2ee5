#include "images/store/changes.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

namespace images {

namespace {

using nlohmann::json;

struct Instruction {
  std::string verb;  // in capitals
  std::string rest;
};

base::Error bad(const Instruction& instruction, std::string_view why) {
  return {base::Code::kInvalidArgument, instruction.verb + " " + std::string(why)};
}

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

std::string lower_case(std::string text) {
  for (char& c : text) c = (c >= 'A' && c <= 'Z') ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

Instruction parse_instruction(std::string_view text) {
  text = trim(text);
  const auto end = std::find_if(text.begin(), text.end(), is_space);
  const auto length = static_cast<std::size_t>(end - text.begin());
  Instruction instruction{std::string(text.substr(0, length)),
                          std::string(trim(text.substr(length)))};
  for (char& c : instruction.verb)
    c = (c >= 'a' && c <= 'z') ? static_cast<char>(c - 'a' + 'A') : c;
  return instruction;
}

/// The value of a variable in an "Env" list; "" if it is not there.
std::string value_of(const json& env, std::string_view name) {
  if (!env.is_array()) return {};
  for (const json& item : env) {
    if (!item.is_string()) continue;
    const std::string& text = item.get_ref<const std::string&>();
    if (text.starts_with(name) && text.size() > name.size() && text[name.size()] == '=')
      return text.substr(name.size() + 1);
  }
  return {};
}

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/// What "$NAME", "${NAME}", "${NAME:-otherwise}" or "${NAME:+instead}" at `text[at]` stands for;
/// moves `at` to its last character. nullopt: it is not finished, or of another form.
std::optional<std::string> expand(std::string_view text, std::size_t& at, const json& env) {
  const auto end_of_name = [&](std::size_t begin) {
    while (begin < text.size() && is_name_character(text[begin])) ++begin;
    return begin;
  };
  const bool braced = at + 1 < text.size() && text[at + 1] == '{';
  const std::size_t begin = at + (braced ? 2 : 1);
  const std::size_t end = end_of_name(begin);
  if (!braced) {
    if (end == begin) return "$";
    at = end - 1;
    return value_of(env, text.substr(begin, end - begin));
  }
  const std::size_t close = text.find('}', end);
  if (end == begin || close == std::string_view::npos) return std::nullopt;
  std::string value = value_of(env, text.substr(begin, end - begin));
  const std::string_view modifier = text.substr(end, close - end);
  at = close;
  if (modifier.empty()) return value;
  if (modifier.starts_with(":-")) return value.empty() ? std::string(modifier.substr(2)) : value;
  if (modifier.starts_with(":+")) return value.empty() ? value : std::string(modifier.substr(2));
  return std::nullopt;
}

/// Splits at spaces outside quotes. Quotes and backslashes are taken away, as a shell does, and
/// variables of `env` replaced. nullopt: a quote or a variable is not finished.
std::optional<std::vector<std::string>> split_words(std::string_view text, const json& env) {
  std::vector<std::string> words;
  std::optional<std::string> word;
  char quote = '\0';
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote == '\0' && is_space(c)) {
      if (word) words.push_back(*std::move(word));
      word.reset();
      continue;
    }
    if (!word) word.emplace();
    if (c == quote) {
      quote = '\0';
    } else if (quote == '\0' && (c == '"' || c == '\'')) {
      quote = c;
    } else if (c == '\\' && quote != '\'' && i + 1 < text.size()) {
      *word += text[++i];
    } else if (c == '$' && quote != '\'') {
      const auto value = expand(text, i, env);
      if (!value) return std::nullopt;
      *word += *value;
    } else {
      *word += c;
    }
  }
  if (quote != '\0') return std::nullopt;
  if (word) words.push_back(*std::move(word));
  return words;
}

/// The whole text as one word.
base::Result<std::string> one_word(const Instruction& instruction, std::string_view text,
                                   const json& env) {
  std::string protected_text;
  char quote = '\0';
  for (const char c : text) {
    if (quote == '\0' && is_space(c)) protected_text += '\\';
    if (c == quote) {
      quote = '\0';
    } else if (quote == '\0' && (c == '"' || c == '\'')) {
      quote = c;
    }
    protected_text += c;
  }
  auto words = split_words(protected_text, env);
  if (!words || words->size() > 1) return bad(instruction, "has an unfinished quote or variable");
  return words->empty() ? std::string() : words->front();
}

/// A JSON list of strings, if the text is one.
std::optional<std::vector<std::string>> parse_exec_form(std::string_view text) {
  if (!text.starts_with('[')) return std::nullopt;
  const json parsed = json::parse(text.begin(), text.end(), nullptr, false);
  if (!parsed.is_array()) return std::nullopt;
  std::vector<std::string> words;
  for (const json& item : parsed) {
    if (!item.is_string()) return std::nullopt;
    words.push_back(item.get<std::string>());
  }
  return words;
}

/// Of the shell form: the image's own shell runs it.
json command_words(const json& config, const std::string& text) {
  if (auto words = parse_exec_form(text)) return *std::move(words);
  const auto shell = config.find("Shell");
  json words = shell != config.end() && shell->is_array() && !shell->empty()
                   ? *shell
                   : json({"/bin/sh", "-c"});
  words.push_back(text);
  return words;
}

/// "A=1 B='2 3'", or "A the rest of the line".
base::Result<std::vector<std::pair<std::string, std::string>>> parse_pairs(
    const Instruction& instruction, const json& config) {
  std::vector<std::pair<std::string, std::string>> pairs;
  const json env = config.value("Env", json());
  auto words = split_words(instruction.rest, env);
  if (!words) return bad(instruction, "has an unfinished quote or variable");
  if (words->empty()) return bad(instruction, "requires at least one argument");
  if (words->front().find('=') == std::string::npos) {
    const Instruction legacy = parse_instruction(instruction.rest);
    if (legacy.rest.empty()) return bad(instruction, "must have two arguments");
    auto value = one_word(instruction, legacy.rest, env);
    if (!value) return std::move(value).error();
    pairs.emplace_back(words->front(), *std::move(value));
    return pairs;
  }
  for (const std::string& word : *words) {
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos)
      return bad(instruction, "syntax error: can't find = in \"" + word + "\"");
    if (equals == 0) return bad(instruction, "names can not be blank");
    pairs.emplace_back(word.substr(0, equals), word.substr(equals + 1));
  }
  return pairs;
}

base::Result<void> apply_env(const Instruction& instruction, json& config) {
  auto pairs = parse_pairs(instruction, config);
  if (!pairs) return std::move(pairs).error();
  json& env = config["Env"];
  if (!env.is_array()) env = json::array();
  for (const auto& [key, value] : *pairs) {
    const auto same = std::find_if(env.begin(), env.end(), [&, &name = key](const json& item) {
      return item.is_string() && item.get_ref<const std::string&>().starts_with(name + "=");
    });
    if (same != env.end()) {
      *same = key + "=" + value;
    } else {
      env.push_back(key + "=" + value);
    }
  }
  return {};
}

base::Result<void> apply_label(const Instruction& instruction, json& config) {
  auto pairs = parse_pairs(instruction, config);
  if (!pairs) return std::move(pairs).error();
  json& labels = config["Labels"];
  if (!labels.is_object()) labels = json::object();
  for (const auto& [key, value] : *pairs) labels[key] = value;
  return {};
}

std::optional<int> parse_port(std::string_view text) {
  int port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port < 0 || port > 65535)
    return std::nullopt;
  return port;
}

/// "80", "53/udp", "8000-8010/tcp"
base::Result<void> apply_expose(const Instruction& instruction, json& config) {
  const auto words = split_words(instruction.rest, config.value("Env", json()));
  if (!words || words->empty()) return bad(instruction, "requires at least one argument");
  for (const std::string& word : *words) {
    const std::size_t slash = std::min(word.find('/'), word.size());
    const std::string protocol = slash == word.size() ? "tcp" : word.substr(slash + 1);
    const std::string range = word.substr(0, slash);
    const std::size_t dash = std::min(range.find('-'), range.size());
    const auto first = parse_port(range.substr(0, dash));
    const auto last = dash == range.size() ? first : parse_port(range.substr(dash + 1));
    const bool known = protocol == "tcp" || protocol == "udp" || protocol == "sctp";
    if (!first || !last || *last < *first || !known)
      return base::Error{base::Code::kInvalidArgument, "invalid containerPort: " + word};
    for (int port = *first; port <= *last; ++port)
      config["ExposedPorts"][std::to_string(port) + "/" + protocol] = json::object();
  }
  return {};
}

base::Result<void> apply_volume(const Instruction& instruction, json& config) {
  auto paths = parse_exec_form(instruction.rest);
  if (!paths) paths = split_words(instruction.rest, config.value("Env", json()));
  if (!paths || paths->empty()) return bad(instruction, "requires at least one argument");
  for (const std::string& path : *paths) {
    if (trim(path).empty()) return bad(instruction, "specified can not be an empty string");
    config["Volumes"][path] = json::object();
  }
  return {};
}

base::Result<void> apply_workdir(const Instruction& instruction, json& config) {
  const auto words = split_words(instruction.rest, config.value("Env", json()));
  if (!words || words->size() != 1) return bad(instruction, "requires exactly one argument");
  std::string path = words->front();
  if (!path.starts_with('/')) path = config.value("WorkingDir", std::string()) + "/" + path;
  config["WorkingDir"] = path;
  return {};
}

/// "1h2m3.5s", in nanoseconds: what Go's time.ParseDuration takes.
std::optional<std::int64_t> parse_duration(std::string_view text) {
  constexpr std::pair<std::string_view, double> kUnits[] = {{"ns", 1},  {"us", 1e3}, {"ms", 1e6},
                                                            {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
  if (text == "0") return 0;
  double total = 0;
  if (text.empty()) return std::nullopt;
  while (!text.empty()) {
    double amount = 0;
    const auto [end, error] =
        std::from_chars(text.data(), text.data() + text.size(), amount, std::chars_format::fixed);
    if (error != std::errc() || amount < 0) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    const std::size_t length = std::min(text.find_first_of("0123456789."), text.size());
    const auto* unit = std::find_if(std::begin(kUnits), std::end(kUnits), [&](const auto& u) {
      return u.first == text.substr(0, length);
    });
    if (unit == std::end(kUnits)) return std::nullopt;
    total += amount * unit->second;
    text.remove_prefix(length);
  }
  if (!(total < 9e18)) return std::nullopt;
  return std::llround(total);
}

base::Result<void> apply_health_option(const Instruction& instruction, std::string_view option,
                                       json& check) {
  constexpr std::pair<std::string_view, const char*> kDurations[] = {
      {"--interval=", "Interval"},
      {"--timeout=", "Timeout"},
      {"--start-period=", "StartPeriod"},
      {"--start-interval=", "StartInterval"}};
  for (const auto& [prefix, key] : kDurations) {
    if (!option.starts_with(prefix)) continue;
    const auto duration = parse_duration(option.substr(prefix.size()));
    if (!duration) return bad(instruction, "has a bad duration: " + std::string(option));
    check[key] = *duration;
    return {};
  }
  constexpr std::string_view kRetries = "--retries=";
  if (!option.starts_with(kRetries))
    return bad(instruction, "has an unknown option: " + std::string(option));
  const auto retries = parse_port(option.substr(kRetries.size()));
  if (!retries) return bad(instruction, "has a bad count: " + std::string(option));
  check["Retries"] = *retries;
  return {};
}

base::Result<void> apply_healthcheck(const Instruction& instruction, json& config) {
  json check = json::object();
  Instruction next = parse_instruction(instruction.rest);
  while (next.verb.starts_with("--")) {
    RETURN_IF_ERROR(apply_health_option(instruction, lower_case(next.verb), check));
    next = parse_instruction(next.rest);
  }
  if (next.verb == "NONE" && next.rest.empty()) {
    check["Test"] = {"NONE"};
  } else if (next.verb == "CMD" && !next.rest.empty()) {
    json test = json::array();
    if (auto words = parse_exec_form(next.rest)) {
      test.push_back("CMD");
      for (std::string& word : *words) test.push_back(std::move(word));
    } else {
      test = {"CMD-SHELL", next.rest};
    }
    check["Test"] = std::move(test);
  } else {
    return bad(instruction, "takes NONE or CMD and a command");
  }
  config["Healthcheck"] = std::move(check);
  return {};
}

base::Result<void> apply_one(const Instruction& instruction, json& config) {
  const std::string& verb = instruction.verb;
  constexpr std::string_view kKnown[] = {"CMD",   "ENTRYPOINT",  "ENV",     "EXPOSE",
                                         "LABEL", "HEALTHCHECK", "ONBUILD", "STOPSIGNAL",
                                         "USER",  "VOLUME",      "WORKDIR"};
  if (std::find(std::begin(kKnown), std::end(kKnown), verb) == std::end(kKnown))
    return base::Error{base::Code::kInvalidArgument,
                       lower_case(verb) + " is not a valid change command"};
  const bool takes_one = verb == "WORKDIR" || verb == "USER" || verb == "STOPSIGNAL";
  if (instruction.rest.empty())
    return bad(instruction,
               takes_one ? "requires exactly one argument" : "requires at least one argument");

  if (verb == "ENV") return apply_env(instruction, config);
  if (verb == "LABEL") return apply_label(instruction, config);
  if (verb == "EXPOSE") return apply_expose(instruction, config);
  if (verb == "VOLUME") return apply_volume(instruction, config);
  if (verb == "WORKDIR") return apply_workdir(instruction, config);
  if (verb == "HEALTHCHECK") return apply_healthcheck(instruction, config);
  if (verb == "CMD") config["Cmd"] = command_words(config, instruction.rest);
  if (verb == "ENTRYPOINT") config["Entrypoint"] = command_words(config, instruction.rest);
  if (verb == "ONBUILD") {
    json& triggers = config["OnBuild"];
    if (!triggers.is_array()) triggers = json::array();
    triggers.push_back(instruction.rest);
  }
  if (verb != "STOPSIGNAL" && verb != "USER") return {};
  auto word = one_word(instruction, instruction.rest, config.value("Env", json()));
  if (!word) return std::move(word).error();
  config[verb == "USER" ? "User" : "StopSignal"] = *std::move(word);
  return {};
}

}  // namespace

base::Result<json> apply_changes(json config, const std::vector<std::string>& changes) {
  bool has_command = false;
  for (const std::string& change : changes) {
    if (trim(change).empty()) continue;
    const Instruction instruction = parse_instruction(change);
    RETURN_IF_ERROR(apply_one(instruction, config));
    has_command = has_command || instruction.verb == "CMD";
    // The old arguments are not the new program's.
    if (instruction.verb == "ENTRYPOINT" && !has_command) config.erase("Cmd");
  }
  return config;
}

}  // namespace images
