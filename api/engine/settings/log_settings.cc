#include "api/engine/settings/log_settings.h"

#include <re2/re2.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>

#include "vmm/base/letters.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;

namespace {

constexpr std::array<std::string_view, 8> kJsonFileOptions{
    "compress", "env", "env-regex", "labels", "labels-regex", "max-file", "max-size", "tag"};
/// Docker's drivers that this host does not have.
constexpr std::array<std::string_view, 9> kOtherDrivers{
    "local", "syslog", "journald", "gelf", "fluentd", "awslogs", "splunk", "etwlogs", "gcplogs"};

Error invalid(std::string message) { return Error{Code::kInvalidArgument, std::move(message)}; }
Error at_start(std::string message) { return Error{Code::kInternal, std::move(message)}; }

template <typename Range>
bool contains(const Range& range, std::string_view value) {
  return std::find(range.begin(), range.end(), value) != range.end();
}

using Options = std::map<std::string, std::string>;

/// The option's text; nullopt if it was not given.
std::optional<std::string> option(const Options& options, const std::string& name) {
  const auto found = options.find(name);
  return found == options.end() ? std::nullopt : std::optional(found->second);
}

std::string in_quotes(std::string_view text) {
  return "\"" + std::string(text.substr(0, 128)) + "\"";
}

/// Sizes as Docker reads them: "10m", "1.5 GB", "512kib". `unit`: what k multiplies with.
Result<std::int64_t> parse_size(const std::string& text, double unit) {
  const Error bad_size = at_start("invalid size: '" + text.substr(0, 128) + "'");
  const std::size_t last = text.find_last_of("0123456789. ");
  if (last == std::string::npos) return bad_size;
  const std::string number = text.substr(0, text[last] == ' ' ? last : last + 1);
  std::string suffix = text.substr(last + 1);
  double value = 0;
  const auto parsed = std::from_chars(number.data(), number.data() + number.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != number.data() + number.size() ||
      !std::isfinite(value))
    return at_start("strconv.ParseFloat: parsing " + in_quotes(number) + ": invalid syntax");
  if (value < 0) return bad_size;
  const Error bad_suffix = at_start("invalid suffix: '" + suffix.substr(0, 128) + "'");
  suffix = base::lower_case(suffix);
  if (!suffix.empty() && suffix != "b") {
    const std::size_t power = std::string_view("kmgtp").find(suffix.front());
    const std::string_view rest = std::string_view(suffix).substr(1);
    if (power == std::string_view::npos || (!rest.empty() && rest != "b" && rest != "ib"))
      return bad_suffix;
    value *= std::pow(unit, static_cast<double>(power) + 1);
  }
  constexpr double kMost = 9e18;
  return static_cast<std::int64_t>(std::min(value, kMost));
}

Result<int> parse_integer(const std::string& text) {
  const std::size_t sign = text.starts_with('+') ? 1 : 0;
  int value = 0;
  const auto parsed = std::from_chars(text.data() + sign, text.data() + text.size(), value);
  if (parsed.ec == std::errc::result_out_of_range)
    return at_start("strconv.Atoi: parsing " + in_quotes(text) + ": value out of range");
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size())
    return at_start("strconv.Atoi: parsing " + in_quotes(text) + ": invalid syntax");
  return value;
}

Result<bool> parse_bool(const std::string& text) {
  constexpr std::array<std::string_view, 6> kTrue{"1", "t", "T", "true", "TRUE", "True"};
  constexpr std::array<std::string_view, 6> kFalse{"0", "f", "F", "false", "FALSE", "False"};
  if (contains(kTrue, text)) return true;
  if (contains(kFalse, text)) return false;
  return at_start("strconv.ParseBool: parsing " + in_quotes(text) + ": invalid syntax");
}

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

/// What a field of Docker's tag template stands for; nullopt for one that Docker does not have.
std::optional<std::string> tag_field(std::string_view field, const LogSubject& subject) {
  if (field == "ID") return subject.id.substr(0, 12);
  if (field == "FullID" || field == "ContainerID") return subject.id;
  if (field == "Name") return subject.name;
  if (field == "ContainerName") return "/" + subject.name;
  // Docker cuts the digest with its algorithm in front.
  if (field == "ImageID") return subject.image_id.substr(0, 12);
  if (field == "ImageFullID" || field == "ContainerImageID") return subject.image_id;
  if (field == "ImageName" || field == "ContainerImageName") return subject.image_name;
  if (field == "DaemonName") return "docker";
  if (field == "Hostname") return host_name();
  if (field == "ContainerEntrypoint") return subject.command.empty() ? "" : subject.command.front();
  if (field != "Command") return std::nullopt;
  std::string command;
  for (const std::string& word : subject.command) command += (command.empty() ? "" : " ") + word;
  return command;
}

bool is_identifier(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(),
                                      [](unsigned char c) { return std::isalnum(c) || c == '_'; });
}

Result<std::string> expand_tag(std::string_view text, const LogSubject& subject) {
  std::string out;
  for (;;) {
    const std::size_t open = text.find("{{");
    out += text.substr(0, open);
    if (open == std::string_view::npos) return out;
    const std::size_t close = text.find("}}", open);
    if (close == std::string_view::npos) return at_start("template: log-tag:1: unclosed action");
    std::string_view action = text.substr(open + 2, close - open - 2);
    text.remove_prefix(close + 2);
    while (action.starts_with(' ')) action.remove_prefix(1);
    while (action.ends_with(' ')) action.remove_suffix(1);
    if (!action.starts_with('.') || !is_identifier(action.substr(1)))
      return Error{Code::kNotSupported,
                   "the action {{" + std::string(action.substr(0, 64)) +
                       "}} of a log tag is not supported: use fields such as {{.Name}}"};
    const auto value = tag_field(action.substr(1), subject);
    if (!value)
      return at_start("template: log-tag:1:" + std::to_string(open + 2) +
                      ": executing \"log-tag\" at <" + std::string(action.substr(0, 64)) +
                      ">: can't evaluate field " + std::string(action.substr(1, 64)) +
                      " in type *logger.Info");
    out += *value;
  }
}

std::map<std::string, std::string> variables_of(const std::vector<std::string>& env) {
  std::map<std::string, std::string> variables;
  for (const std::string& variable : env)
    if (const std::size_t equals = variable.find('='); equals != std::string::npos)
      variables[variable.substr(0, equals)] = variable.substr(equals + 1);
  return variables;
}

/// Adds those of `from` that the options `name` (a list) and `name`-regex choose.
Result<void> choose(const Options& options, const std::string& name,
                    const std::map<std::string, std::string>& from,
                    std::map<std::string, std::string>& into) {
  const std::string list = option(options, name).value_or("");
  for (std::size_t at = 0; at < list.size();) {
    const std::size_t comma = std::min(list.find(',', at), list.size());
    if (const auto found = from.find(list.substr(at, comma - at)); found != from.end())
      into.insert_or_assign(found->first, found->second);
    at = comma + 1;
  }
  const std::string pattern = option(options, name + "-regex").value_or("");
  if (pattern.empty()) return {};
  RE2::Options quiet;
  quiet.set_log_errors(false);
  const RE2 expression(pattern, quiet);
  if (!expression.ok())
    return at_start("error parsing regexp: " + expression.error() + ": `" +
                    expression.error_arg().substr(0, 128) + "`");
  for (const auto& item : from)
    if (RE2::PartialMatch(item.first, expression)) into.insert_or_assign(item.first, item.second);
  return {};
}

Result<void> read_attributes(const Options& options, const LogSubject& subject,
                             LogSettings& settings) {
  std::map<std::string, std::string> attributes;
  RETURN_IF_ERROR(choose(options, "labels", subject.labels, attributes));
  RETURN_IF_ERROR(choose(options, "env", variables_of(subject.env), attributes));
  const auto tag = expand_tag(option(options, "tag").value_or(""), subject);
  if (!tag) return tag.error();
  if (!tag->empty()) attributes["tag"] = *tag;
  if (attributes.empty()) return {};
  // Go's encoder escapes these too; in JSON they can only be part of a string.
  for (const char c : json(attributes).dump(-1, ' ', false, json::error_handler_t::replace))
    settings.attributes += c == '<'   ? "\\u003c"
                           : c == '>' ? "\\u003e"
                           : c == '&' ? "\\u0026"
                                      : std::string(1, c);
  if (settings.attributes.size() > kMaxLogAttributes)
    return at_start("the labels, env and tag of the log are longer than 256 KiB");
  return {};
}

Result<void> read_rotation(const Options& options, LogSettings& settings) {
  if (const auto text = option(options, "max-size")) {
    const auto size = parse_size(*text, 1000);
    if (!size) return size.error();
    if (*size <= 0) return at_start("max-size must be a positive number");
    settings.max_size = *size;
    settings.max_files = 1;
  }
  if (const auto text = option(options, "max-file")) {
    const auto files = parse_integer(*text);
    if (!files) return files.error();
    if (*files < 1) return at_start("max-file cannot be less than 1");
    settings.max_files = *files;
  }
  if (const auto text = option(options, "compress")) {
    const auto compress = parse_bool(*text);
    if (!compress) return compress.error();
    if (*compress && (settings.max_files == 1 || !options.contains("max-size")))
      return at_start(
          "compress cannot be true when max-file is less than 2 or max-size is not set");
    settings.compress = *compress;
  }
  return {};
}

/// This host's bounds, on values that Docker takes; those that it refuses it refuses at start.
Result<void> check_bounds(const Options& options) {
  if (const auto text = option(options, "max-size"))
    if (const auto size = parse_size(*text, 1000); size && *size > 0 && *size < kLeastLogSize)
      return invalid("log opt max-size=" + text->substr(0, 128) +
                     " is less than this host's least, " + std::to_string(kLeastLogSize) +
                     " bytes");
  if (const auto text = option(options, "max-file"))
    if (const auto files = parse_integer(*text); files && *files > kMostLogFiles)
      return invalid("log opt max-file=" + text->substr(0, 128) +
                     " is more than this host's most, " + std::to_string(kMostLogFiles));
  return {};
}

/// A container that was created before there were bounds has what comes nearest.
void keep_to_bounds(LogSettings& settings) {
  const auto bound = [&](std::string_view name, auto& value, auto bounded) {
    if (value == bounded) return;
    settings.remark += (settings.remark.empty() ? "" : ", ") + std::string(name) + "=" +
                       std::to_string(value) + " is taken as " + std::to_string(bounded);
    value = bounded;
  };
  bound("max-size", settings.max_size, std::max(settings.max_size, kLeastLogSize));
  bound("max-file", settings.max_files, std::min(settings.max_files, kMostLogFiles));
}

Result<void> check_mode(const Options& options) {
  const std::string mode = option(options, "mode").value_or("");
  if (!mode.empty() && mode != "blocking" && mode != "non-blocking")
    return invalid("logger: logging mode not supported: " + mode.substr(0, 128));
  const auto buffer = option(options, "max-buffer-size");
  if (!buffer) return {};
  if (mode != "non-blocking")
    return invalid("logger: max-buffer-size option is only supported with 'mode=non-blocking'");
  const auto size = parse_size(*buffer, 1024);
  if (!size) return invalid("error parsing option max-buffer-size: " + size.error().message);
  return {};
}

/// Checks the types only, not what the values say.
Result<LogConfig> typed_log_config(const json& log_config) {
  LogConfig config;
  const json type = log_config.value("Type", json(""));
  if (!type.is_string()) return invalid("invalid JSON: HostConfig.LogConfig.Type must be a string");
  if (type != "") config.driver = type.get<std::string>();
  const json options = log_config.value("Config", json(nullptr));
  if (options.is_null()) return config;
  const bool strings =
      options.is_object() && std::all_of(options.begin(), options.end(),
                                         [](const json& value) { return value.is_string(); });
  if (!strings)
    return invalid("invalid JSON: HostConfig.LogConfig.Config must be an object of strings");
  config.options = options.get<Options>();
  return config;
}

}  // namespace

Result<LogConfig> parse_log_config(const json& log_config) {
  auto config = typed_log_config(log_config);
  if (!config || !config->writes()) return config;
  const std::string& driver = config->driver;
  if (contains(kOtherDrivers, driver))
    return Error{Code::kNotSupported,
                 "log driver \"" + driver + "\" is not supported: use json-file or none"};
  RETURN_IF_ERROR(check_mode(config->options));
  if (driver != "json-file")
    return invalid("error looking up logging plugin " + driver.substr(0, 128) + ": plugin \"" +
                   driver.substr(0, 128) + "\" not found");
  for (const auto& [name, value] : config->options)
    if (name != "mode" && name != "max-buffer-size" && !contains(kJsonFileOptions, name))
      return invalid("unknown log opt '" + name.substr(0, 128) + "' for json-file log driver");
  // What only this host cannot do is said at once.
  RETURN_IF_ERROR(check_bounds(config->options));
  const auto tag = expand_tag(option(config->options, "tag").value_or(""), LogSubject{});
  if (!tag && tag.error().code == Code::kNotSupported) return tag.error();
  return config;
}

Result<LogSettings> log_settings_for(const LogConfig& config, const LogSubject& subject) {
  const Options& options = config.options;
  LogSettings settings{.max_size = kDefaultLogSize, .max_files = kDefaultLogFiles};
  RETURN_IF_ERROR(read_rotation(options, settings));
  RETURN_IF_ERROR(read_attributes(options, subject, settings));
  keep_to_bounds(settings);
  settings.blocking = option(options, "mode").value_or("") != "non-blocking";
  if (const auto text = option(options, "max-buffer-size")) {
    const auto size = parse_size(*text, 1024);
    if (!size) return size.error();
    if (*size > 0) settings.max_buffer = *size;
  }
  return settings;
}

}  // namespace engine
