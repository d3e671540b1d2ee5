#include "api/engine/settings/process_settings.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

#include "api/engine/state/json_fields.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;

namespace {

Error invalid(std::string message) { return Error{Code::kInvalidArgument, std::move(message)}; }

std::vector<std::string> command_line_of(const json& config) {
  std::vector<std::string> all = strings_in(config, "Entrypoint");
  for (std::string& word : strings_in(config, "Cmd")) all.push_back(std::move(word));
  return all;
}

Result<void> check_env(const std::vector<std::string>& env) {
  for (const std::string& variable : env)
    if (variable.empty() || variable.front() == '=')
      return invalid("invalid environment variable: " + variable.substr(0, 64));
  return {};
}

Result<std::string> parse_directory(const json& config) {
  const std::string directory = text_in(config, "WorkingDir");
  if (directory.empty()) return std::string("/");
  if (directory.front() != '/')
    return invalid("the working directory '" + directory.substr(0, 128) +
                   "' is invalid, it needs to be an absolute path");
  return directory;
}

Result<int> parse_stop_signal(const json& config) {
  const std::string text = text_in(config, "StopSignal");
  return text.empty() ? Result<int>(SIGTERM) : parse_signal(text);
}

std::chrono::seconds stop_timeout_of(const json& config) {
  // At most as long as can be added to a time; below 0 means for ever.
  constexpr std::int64_t kLongest = std::int64_t{10} * 365 * 86400;
  const std::int64_t seconds = integer_in(config, "StopTimeout", 10);
  return std::chrono::seconds(std::clamp<std::int64_t>(seconds, -1, kLongest));
}

Result<std::int32_t> parse_oom_score(const json& host) {
  const std::int64_t score = integer_in(host, "OomScoreAdj");
  if (score < -1000 || score > 1000)
    return invalid("Invalid value " + std::to_string(score) +
                   ", range for oom score adj is [-1000, 1000]");
  return static_cast<std::int32_t>(score);
}

Result<std::vector<protocol::StartProcess::Rlimit>> parse_rlimits(const json& host) {
  std::vector<protocol::StartProcess::Rlimit> rlimits;
  for (const json& limit : host.at("Ulimits")) {
    const bool typed = limit.is_object() && limit.value("Name", json()).is_string() &&
                       is_integer(limit.value("Soft", json(0))) &&
                       is_integer(limit.value("Hard", json(0)));
    if (!typed) return invalid("invalid JSON: HostConfig.Ulimits");
    const auto soft = limit.value("Soft", std::int64_t{0});
    const auto hard = limit.value("Hard", std::int64_t{0});
    if (hard != -1 && (soft > hard || soft == -1))
      return invalid("ulimit soft limit must be less than or equal to hard limit");
    rlimits.push_back({.name = limit.at("Name").get<std::string>(),
                       .soft = static_cast<std::uint64_t>(soft),  // -1: unlimited
                       .hard = static_cast<std::uint64_t>(hard)});
  }
  return rlimits;
}

Result<void> parse_console_size(const json& host, ProcessSettings& process) {
  const json& size = host.at("ConsoleSize");
  const bool sized = size.size() == 2 && std::all_of(size.begin(), size.end(), [](const json& n) {
                       return n.is_number_unsigned() && n.get<std::uint64_t>() <= 65535;
                     });
  if (!sized) return invalid("invalid JSON: HostConfig.ConsoleSize must be [rows, columns]");
  process.rows = size.at(0).get<std::uint16_t>();
  process.columns = size.at(1).get<std::uint16_t>();
  return {};
}

}  // namespace

Result<ProcessSettings> parse_process(const json& config, const json& host) {
  ProcessSettings process{.argv = command_line_of(config),
                          .env = strings_in(config, "Env"),
                          .directory = {},
                          .user = text_in(config, "User"),
                          .groups = strings_in(host, "GroupAdd"),
                          .tty = flag_in(config, "Tty"),
                          .open_stdin = flag_in(config, "OpenStdin"),
                          .stdin_once = flag_in(config, "StdinOnce"),
                          .use_init = flag_in(host, "Init"),
                          .rlimits = {},
                          .stop_timeout = stop_timeout_of(config)};
  RETURN_IF_ERROR(check_env(process.env));
  auto directory = parse_directory(config);
  if (!directory) return std::move(directory).error();
  process.directory = *std::move(directory);
  const auto stop_signal = parse_stop_signal(config);
  if (!stop_signal) return stop_signal.error();
  process.stop_signal = *stop_signal;
  const auto oom_score = parse_oom_score(host);
  if (!oom_score) return oom_score.error();
  process.oom_score_adj = *oom_score;
  auto rlimits = parse_rlimits(host);
  if (!rlimits) return std::move(rlimits).error();
  process.rlimits = *std::move(rlimits);
  RETURN_IF_ERROR(parse_console_size(host, process));
  return process;
}

Result<int> parse_signal(std::string_view text) {
  struct Named {
    std::string_view name;
    int number;
  };
  static constexpr std::array<Named, 33> kSignals{
      {{"ABRT", SIGABRT}, {"ALRM", SIGALRM}, {"BUS", SIGBUS},       {"CHLD", SIGCHLD},
       {"CLD", SIGCHLD},  {"CONT", SIGCONT}, {"FPE", SIGFPE},       {"HUP", SIGHUP},
       {"ILL", SIGILL},   {"INT", SIGINT},   {"IO", SIGIO},         {"IOT", SIGIOT},
       {"KILL", SIGKILL}, {"PIPE", SIGPIPE}, {"POLL", SIGPOLL},     {"PROF", SIGPROF},
       {"PWR", SIGPWR},   {"QUIT", SIGQUIT}, {"SEGV", SIGSEGV},     {"STKFLT", SIGSTKFLT},
       {"STOP", SIGSTOP}, {"SYS", SIGSYS},   {"TERM", SIGTERM},     {"TRAP", SIGTRAP},
       {"TSTP", SIGTSTP}, {"TTIN", SIGTTIN}, {"TTOU", SIGTTOU},     {"URG", SIGURG},
       {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"VTALRM", SIGVTALRM}, {"WINCH", SIGWINCH},
       {"XCPU", SIGXCPU}}};
  constexpr int kRtMin = 34;  // as the C library leaves them to programs
  constexpr int kRtMax = 64;
  const Error bad = invalid("invalid signal: " + std::string(text.substr(0, 32)));

  std::string upper(text.substr(0, 32));
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  std::string_view word = upper;
  if (word.starts_with("SIG")) word.remove_prefix(3);
  for (const Named& signal : kSignals)
    if (signal.name == word) return signal.number;
  if (word == "XFSZ") return SIGXFSZ;

  int base = 0;
  int direction = 1;
  if (word.starts_with("RTMIN")) base = kRtMin;
  if (word.starts_with("RTMAX")) base = kRtMax, direction = -1;
  if (base != 0) {
    word.remove_prefix(5);
    if (word.empty()) return base;
    if (word.front() != (direction > 0 ? '+' : '-')) return bad;
    word.remove_prefix(1);
  }
  int value = 0;
  const auto parsed = std::from_chars(word.data(), word.data() + word.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != word.data() + word.size() || value < 0) return bad;
  const int result = base + direction * value;
  if (result < (base != 0 ? kRtMin : 1) || result > kRtMax) return bad;
  return result;
}

}  // namespace engine
