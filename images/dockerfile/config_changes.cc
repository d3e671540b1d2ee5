#include "images/dockerfile/config_changes.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "images/dockerfile/expansion.h"
#include "images/dockerfile/text.h"
#include "vmm/base/letters.h"

namespace dockerfile {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;

namespace {

Error wrong(std::string message) { return {Code::kInvalidArgument, std::move(message)}; }

bool is_expanded(Kind kind) {
  switch (kind) {
    case Kind::kAdd:
    case Kind::kArg:
    case Kind::kCopy:
    case Kind::kEnv:
    case Kind::kLabel:
    case Kind::kStopSignal:
    case Kind::kUser:
    case Kind::kVolume:
    case Kind::kWorkdir:
      return true;
    default:
      return false;
  }
}

json& object_in(json& config, const char* field) {
  json& object = config[field];
  if (!object.is_object()) object = json::object();
  return object;
}

std::string apply_env(const Instruction& instruction, json& config) {
  json& env = config["Env"];
  if (!env.is_array()) env = json::array();
  std::string said = "ENV";
  for (std::size_t i = 0; i + 1 < instruction.arguments.size(); i += 2) {
    const std::string& name = instruction.arguments[i];
    const std::string variable = name + "=" + instruction.arguments[i + 1];
    said += " " + variable;
    const auto same = std::find_if(env.begin(), env.end(), [&](const json& item) {
      const auto* text = item.get_ptr<const std::string*>();
      return text != nullptr && std::string_view(*text).substr(0, text->find('=')) == name;
    });
    if (same != env.end()) {
      *same = variable;
    } else {
      env.push_back(variable);
    }
  }
  return said;
}

std::string apply_label(const Instruction& instruction, json& config) {
  json& labels = object_in(config, "Labels");
  std::string said = "LABEL";
  for (std::size_t i = 0; i + 1 < instruction.arguments.size(); i += 2) {
    labels[instruction.arguments[i]] = instruction.arguments[i + 1];
    said += " " + instruction.arguments[i] + "=" + instruction.arguments[i + 1];
  }
  return said;
}

std::optional<int> parse_port(std::string_view text) {
  int port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port < 0 || port > 65535)
    return std::nullopt;
  return port;
}

/// "80", "8000-8010"
std::optional<std::pair<int, int>> parse_ports(std::string_view text) {
  const std::size_t dash = std::min(text.find('-'), text.size());
  const auto first = parse_port(text.substr(0, dash));
  const auto last = dash == text.size() ? first : parse_port(text.substr(dash + 1));
  if (!first || !last || *last < *first) return std::nullopt;
  return std::pair(*first, *last);
}

/// "80", "53/udp", "8000-8010/tcp"; of "[[ADDRESS:]PORT:]PORT" the last counts.
Result<std::string> apply_expose(const Instruction& instruction, json& config) {
  for (const std::string& word : instruction.arguments) {
    const std::size_t slash = std::min(word.find('/'), word.size());
    const std::string protocol =
        slash == word.size() ? "tcp" : base::lower_case(word.substr(slash + 1));
    std::string range = word.substr(0, slash);
    if (const std::size_t colon = range.rfind(':'); colon != std::string::npos) {
      std::string host = range.substr(0, colon);
      range.erase(0, colon + 1);
      if (const std::size_t before = host.rfind(':'); before != std::string::npos)
        host.erase(0, before + 1);
      if (!host.empty() && !parse_ports(host)) return wrong("invalid hostPort: " + host);
    }
    const auto ports = parse_ports(range);
    const bool known = protocol == "tcp" || protocol == "udp" || protocol == "sctp";
    if (!ports || !known) return wrong("invalid containerPort: " + word);
    for (int port = ports->first; port <= ports->second; ++port)
      object_in(config, "ExposedPorts")[std::to_string(port) + "/" + protocol] = json::object();
  }
  return "EXPOSE " + joined(instruction.arguments, " ");
}

std::string apply_volume(const Instruction& instruction, json& config) {
  for (const std::string& path : instruction.arguments)
    object_in(config, "Volumes")[path] = json::object();
  return "VOLUME " + plain_list(instruction.arguments);
}

std::string apply_workdir(const Instruction& instruction, json& config) {
  const std::string& path = instruction.arguments.front();
  std::string now;
  if (const auto found = config.find("WorkingDir"); found != config.end() && found->is_string())
    now = found->get<std::string>();
  config["WorkingDir"] = clean_path(path.starts_with('/') ? path : "/" + now + "/" + path);
  return "WORKDIR " + config["WorkingDir"].get<std::string>();
}

std::string apply_health(const Instruction& instruction, json& config) {
  json check = json::object();
  std::vector<std::string> test = instruction.arguments;
  if (test.front() == "CMD" && !instruction.exec_form) test.front() = "CMD-SHELL";
  check["Test"] = test;
  std::string said = "HEALTHCHECK &{" + quoted_list(test);
  const auto duration = [&](const char* flag, const char* field) {
    const std::int64_t value = parse_duration(instruction.flag(flag)).value_or(0);
    if (value != 0) check[field] = value;
    said += " \"" + format_duration(value) + "\"";
  };
  duration("interval", "Interval");
  duration("timeout", "Timeout");
  duration("start-period", "StartPeriod");
  duration("start-interval", "StartInterval");
  std::string retries = instruction.flag("retries");
  if (retries.starts_with('+')) retries.erase(0, 1);
  int count = 0;
  std::from_chars(retries.data(), retries.data() + retries.size(), count);
  if (count != 0) check["Retries"] = count;
  // Docker's builder prints the number as a character (%q): 3 is '\x03'.
  const std::string character =
      count < 0x80 ? quote(std::string(1, static_cast<char>(count))) : "\"\xef\xbf\xbd\"";
  said += " '" + character.substr(1, character.size() - 2) + "'}";
  config["Healthcheck"] = std::move(check);
  return said;
}

std::string apply_trigger(const Instruction& instruction, json& config) {
  json& triggers = config["OnBuild"];
  if (!triggers.is_array()) triggers = json::array();
  triggers.push_back(instruction.arguments.front());
  return "ONBUILD " + instruction.arguments.front();
}

}  // namespace

Result<Instruction> expanded(Instruction instruction, char escape,
                             const std::vector<std::string>& environment) {
  if (!instruction.expands) return instruction;
  const Expansion expansion(escape, environment);
  if (instruction.kind == Kind::kExpose) {
    std::vector<std::string> ports;
    for (const std::string& argument : instruction.arguments) {
      auto words = expansion.words(argument);
      if (!words) return std::move(words).error();
      for (std::string& word : *words) ports.push_back(std::move(word));
    }
    instruction.arguments = std::move(ports);
  }
  if (!is_expanded(instruction.kind)) return instruction;
  for (std::string& argument : instruction.arguments) {
    auto word = expansion.word(argument);
    if (!word) return std::move(word).error();
    argument = *std::move(word);
  }
  for (const char* name : {"chown", "chmod"}) {
    const auto flag = instruction.flags.find(name);
    if (flag == instruction.flags.end()) continue;
    auto word = expansion.word(flag->second);
    if (!word) return std::move(word).error();
    flag->second = *std::move(word);
  }
  return instruction;
}

std::vector<std::string> strings_of(const json& config, const char* field) {
  std::vector<std::string> strings;
  const auto found = config.find(field);
  if (found == config.end() || !found->is_array()) return strings;
  for (const json& item : *found)
    if (item.is_string()) strings.push_back(item.get<std::string>());
  return strings;
}

std::vector<std::string> shell_of(const json& config) {
  std::vector<std::string> shell = strings_of(config, "Shell");
  if (shell.empty()) shell = {"/bin/sh", "-c"};
  return shell;
}

std::vector<std::string> command_line(const Instruction& instruction, const json& config) {
  if (instruction.exec_form || instruction.arguments.empty()) return instruction.arguments;
  std::vector<std::string> words = shell_of(config);
  words.push_back(joined(instruction.arguments, " "));
  return words;
}

Result<std::string> ConfigChanges::apply(const Instruction& instruction, json& config) {
  const auto set = [&](const char* field, std::string said) {
    config[field] = instruction.arguments.front();
    return said + " " + instruction.arguments.front();
  };
  switch (instruction.kind) {
    case Kind::kCmd:
      config["Cmd"] = command_line(instruction, config);
      command_set_ = command_set_ || !instruction.arguments.empty();
      return "CMD " + quoted_list(strings_of(config, "Cmd"));
    case Kind::kEntrypoint: {
      const std::vector<std::string> words = command_line(instruction, config);
      config["Entrypoint"] = words.empty() ? json() : json(words);
      // The image's CMD was for its old entrypoint.
      if (!command_set_) config["Cmd"] = nullptr;
      return "ENTRYPOINT " + quoted_list(words);
    }
    case Kind::kEnv:
      return apply_env(instruction, config);
    case Kind::kLabel:
      return apply_label(instruction, config);
    case Kind::kExpose:
      return apply_expose(instruction, config);
    case Kind::kVolume:
      return apply_volume(instruction, config);
    case Kind::kWorkdir:
      return apply_workdir(instruction, config);
    case Kind::kHealthcheck:
      return apply_health(instruction, config);
    case Kind::kOnBuild:
      return apply_trigger(instruction, config);
    case Kind::kUser:
      return set("User", "USER");
    case Kind::kStopSignal:
      return set("StopSignal", "STOPSIGNAL");
    case Kind::kShell:
      config["Shell"] = instruction.arguments;
      return "SHELL " + plain_list(instruction.arguments);
    default:
      return wrong("the instruction does not change an image's configuration");
  }
}

}  // namespace dockerfile
