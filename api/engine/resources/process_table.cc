#include "api/engine/resources/process_table.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <functional>

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr std::int64_t kTicksPerSecond = 100;
constexpr std::int64_t kPageKib = 4;
/// More than an honest guest's message has room for; a row takes far more memory than its entry,
/// and the more so the more columns the client wants.
constexpr std::size_t kMostRows = 1u << 16;
constexpr std::size_t kMostCells = 1u << 20;
constexpr std::size_t kMostColumns = 64;
/// Numbers beyond it are the guest's lies: what is worked out from it never overflows.
constexpr std::int64_t kLargest = std::int64_t{1} << 53;

std::int64_t believable(std::int64_t value) { return std::clamp(value, -kLargest, kLargest); }

/// /proc/<pid>/stat by its numbers in proc(5).
struct ProcessStat {
  std::int64_t pid = 0;
  std::uint32_t user = 0;
  std::string name;  // (2)
  char state = '?';  // (3)
  std::int64_t parent = 0, group = 0, session = 0, terminal = 0, terminal_group = 0;
  std::int64_t user_ticks = 0, system_ticks = 0;
  std::int64_t priority = 0, nice = 0, threads = 0, start_ticks = 0;
  std::int64_t virtual_bytes = 0, resident_pages = 0;
  std::string command_line;  // arguments joined; the name in brackets if there are none
};

/// What a column may need besides the process itself.
struct Moment {
  std::int64_t now_s = 0;
  std::int64_t boot_s = 0;
  std::uint64_t total_memory = 0;
};

std::string printable(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return text;
}

std::string joined_arguments(std::string text, const std::string& name) {
  while (!text.empty() && text.back() == '\0') text.pop_back();
  if (text.empty()) return "[" + name + "]";
  std::replace(text.begin(), text.end(), '\0', ' ');
  return printable(std::move(text));
}

ProcessStat parse_stat(const protocol::ProcessList::Entry& entry) {
  ProcessStat stat;
  stat.pid = entry.pid;
  stat.user = entry.user;
  const std::string_view text = entry.stat;
  // The name may contain anything, also parentheses: it ends with the last one.
  const std::size_t open = text.find('(');
  const std::size_t close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open)
    return stat;
  stat.name = printable(std::string(text.substr(open + 1, close - open - 1)));
  stat.command_line = joined_arguments(entry.command_line, stat.name);
  std::string_view rest = text.substr(close + 1);
  std::array<std::int64_t, 25> fields{};  // by number; the first that counts is 4
  for (std::size_t field = 3; field < fields.size(); ++field) {
    rest.remove_prefix(std::min(rest.size(), rest.find_first_not_of(' ')));
    const std::string_view word = rest.substr(0, rest.find_first_of(" \n"));
    rest.remove_prefix(word.size());
    if (field == 3 && !word.empty()) stat.state = printable(std::string(word.substr(0, 1))).front();
    std::from_chars(word.data(), word.data() + word.size(), fields[field]);
    fields[field] = believable(fields[field]);
  }
  stat.parent = fields[4];
  stat.group = fields[5];
  stat.session = fields[6];
  stat.terminal = fields[7];
  stat.terminal_group = fields[8];
  stat.user_ticks = std::max<std::int64_t>(fields[14], 0);
  stat.system_ticks = std::max<std::int64_t>(fields[15], 0);
  stat.priority = fields[18];
  stat.nice = fields[19];
  stat.threads = fields[20];
  stat.start_ticks = std::max<std::int64_t>(fields[22], 0);
  stat.virtual_bytes = std::max<std::int64_t>(fields[23], 0);
  stat.resident_pages = std::max<std::int64_t>(fields[24], 0);
  return stat;
}

template <typename... Values>
std::string print(const char* format, Values... values) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), format, values...);
  return text.data();
}

std::int64_t cpu_seconds(const ProcessStat& stat) {
  return (stat.user_ticks / kTicksPerSecond) + (stat.system_ticks / kTicksPerSecond);
}

std::int64_t start_second(const ProcessStat& stat, const Moment& moment) {
  return moment.boot_s + stat.start_ticks / kTicksPerSecond;
}

std::int64_t age_seconds(const ProcessStat& stat, const Moment& moment) {
  return std::max<std::int64_t>(moment.now_s - start_second(stat, moment), 0);
}

double cpu_percent(const ProcessStat& stat, const Moment& moment) {
  const std::int64_t age = age_seconds(stat, moment);
  return age == 0 ? 0 : 100.0 * static_cast<double>(cpu_seconds(stat)) / static_cast<double>(age);
}

double memory_percent(const ProcessStat& stat, const Moment& moment) {
  if (moment.total_memory == 0) return 0;
  return 100.0 * static_cast<double>(stat.resident_pages) * kPageKib * 1024 /
         static_cast<double>(moment.total_memory);
}

std::string user_name(std::uint32_t user) { return user == 0 ? "root" : std::to_string(user); }

/// Device numbers of terminals: 136..143 are pseudo terminals, 5:1 is /dev/console.
std::string terminal_name(std::int64_t device) {
  const std::int64_t major = (device >> 8) & 0xfff;
  const std::int64_t minor = (device & 0xff) | ((device >> 12) & 0xfff00);
  if (major >= 136 && major <= 143) return "pts/" + std::to_string((major - 136) * 256 + minor);
  if (major == 4) return "tty" + std::to_string(minor);
  return "?";
}

/// "10:22", or "Nov23" when it began on another day.
std::string start_time(const ProcessStat& stat, const Moment& moment) {
  const std::time_t start = start_second(stat, moment);
  const std::time_t now = moment.now_s;
  std::tm started{};
  std::tm today{};
  ::localtime_r(&start, &started);
  ::localtime_r(&now, &today);
  const bool same_day = started.tm_yday == today.tm_yday && started.tm_year == today.tm_year;
  std::array<char, 16> text{};
  std::strftime(text.data(), text.size(), same_day ? "%H:%M" : "%b%d", &started);
  return text.data();
}

std::string clock(std::int64_t seconds) {
  return print("%02ld:%02ld:%02ld", static_cast<long>(seconds / 3600),
               static_cast<long>(seconds / 60 % 60), static_cast<long>(seconds % 60));
}

std::string elapsed(std::int64_t seconds) {
  const auto days = static_cast<long>(seconds / 86400);
  if (days > 0) return print("%ld-", days) + clock(seconds % 86400);
  if (seconds >= 3600) return clock(seconds);
  return print("%02ld:%02ld", static_cast<long>(seconds / 60), static_cast<long>(seconds % 60));
}

std::string short_cpu_time(std::int64_t seconds) {
  return print("%ld:%02ld", static_cast<long>(seconds / 60), static_cast<long>(seconds % 60));
}

std::string state_flags(const ProcessStat& stat) {
  std::string flags(1, stat.state);
  if (stat.nice < 0) flags += '<';
  if (stat.nice > 0) flags += 'N';
  if (stat.session == stat.pid) flags += 's';
  if (stat.threads > 1) flags += 'l';
  if (stat.terminal_group == stat.group && stat.terminal_group > 0) flags += '+';
  return flags;
}

struct Column {
  std::string_view names;  // what -o calls it, between spaces
  std::string_view title;
  std::string (*value)(const ProcessStat&, const Moment&);
};

using Stat = const ProcessStat&;
using When = const Moment&;
constexpr auto kColumns = std::to_array<Column>({
    {" user euser uname ", "USER", [](Stat s, When) { return user_name(s.user); }},
    {" uid euid ", "UID", [](Stat s, When) { return std::to_string(s.user); }},
    {" pid tgid ", "PID", [](Stat s, When) { return std::to_string(s.pid); }},
    {" ppid ", "PPID", [](Stat s, When) { return std::to_string(s.parent); }},
    {" pgid pgrp ", "PGID", [](Stat s, When) { return std::to_string(s.group); }},
    {" sid sess session ", "SID", [](Stat s, When) { return std::to_string(s.session); }},
    {" c ", "C", [](Stat s, When w) { return print("%.0f", cpu_percent(s, w)); }},
    {" pcpu %cpu ", "%CPU", [](Stat s, When w) { return print("%.1f", cpu_percent(s, w)); }},
    {" pmem %mem ", "%MEM", [](Stat s, When w) { return print("%.1f", memory_percent(s, w)); }},
    {" vsz vsize ", "VSZ", [](Stat s, When) { return std::to_string(s.virtual_bytes / 1024); }},
    {" rss rssize rsz ", "RSS",
     [](Stat s, When) { return std::to_string(s.resident_pages * kPageKib); }},
    {" tty tt tname ", "TTY", [](Stat s, When) { return terminal_name(s.terminal); }},
    {" stat ", "STAT", [](Stat s, When) { return state_flags(s); }},
    {" s state ", "S", [](Stat s, When) { return std::string(1, s.state); }},
    {" stime start start_time ", "STIME", [](Stat s, When w) { return start_time(s, w); }},
    {" time cputime ", "TIME", [](Stat s, When) { return clock(cpu_seconds(s)); }},
    {" etime ", "ELAPSED", [](Stat s, When w) { return elapsed(age_seconds(s, w)); }},
    {" etimes ", "ELAPSED", [](Stat s, When w) { return std::to_string(age_seconds(s, w)); }},
    {" ni nice ", "NI", [](Stat s, When) { return std::to_string(s.nice); }},
    {" pri ", "PRI", [](Stat s, When) { return std::to_string(39 - s.priority); }},
    {" nlwp thcount ", "NLWP", [](Stat s, When) { return std::to_string(s.threads); }},
    {" comm ucmd ucomm ", "COMMAND", [](Stat s, When) { return s.name; }},
    {" cmd ", "CMD", [](Stat s, When) { return s.command_line; }},
    {" args command ", "COMMAND", [](Stat s, When) { return s.command_line; }},
    // The columns of fixed formats that no name of -o stands for.
    {"", "UID", [](Stat s, When) { return user_name(s.user); }},
    {"", "START", [](Stat s, When w) { return start_time(s, w); }},
    {"", "TIME", [](Stat s, When) { return short_cpu_time(cpu_seconds(s)); }},
});
constexpr std::size_t kUidColumn = kColumns.size() - 3;
constexpr std::size_t kStartColumn = kColumns.size() - 2;
constexpr std::size_t kShortTimeColumn = kColumns.size() - 1;

const Column* named_column(std::string_view name) {
  for (const Column& column : kColumns)
    if (column.names.find(" " + std::string(name) + " ") != std::string_view::npos) return &column;
  return nullptr;
}

std::vector<const Column*> named_columns(std::initializer_list<std::string_view> names) {
  std::vector<const Column*> columns;
  for (const std::string_view name : names) columns.push_back(named_column(name));
  return columns;
}

std::vector<const Column*> full_format() {
  auto columns = named_columns({"pid", "ppid", "c", "stime", "tty", "time", "cmd"});
  columns.insert(columns.begin(), &kColumns[kUidColumn]);
  return columns;
}

std::vector<const Column*> user_format() {
  auto columns = named_columns({"user", "pid", "pcpu", "pmem", "vsz", "rss", "tty", "stat"});
  columns.push_back(&kColumns[kStartColumn]);
  columns.push_back(&kColumns[kShortTimeColumn]);
  columns.push_back(named_column("command"));
  return columns;
}

std::vector<std::string_view> words_of(std::string_view text, std::string_view separators) {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    const std::size_t begin = std::min(text.size(), text.find_first_not_of(separators));
    text.remove_prefix(begin);
    const std::string_view word = text.substr(0, text.find_first_of(separators));
    text.remove_prefix(word.size());
    if (!word.empty()) words.push_back(word);
  }
  return words;
}

Result<std::vector<const Column*>> columns_of_list(std::string_view list) {
  std::vector<const Column*> columns;
  for (const std::string_view name : words_of(list, ",")) {
    const Column* column = named_column(name);
    if (column == nullptr)
      return Error{Code::kInvalidArgument,
                   "ps: unknown user-defined format specifier \"" + std::string(name) + "\""};
    columns.push_back(column);
    if (columns.size() > kMostColumns) return Error{Code::kInvalidArgument, "ps: too many columns"};
  }
  return columns;
}

Result<std::vector<const Column*>> choose_columns(std::string_view arguments) {
  const Error refused{Code::kInvalidArgument,
                      "ps arguments \"" + std::string(arguments.substr(0, 128)) +
                          "\" are not supported: use -ef, aux, or -o with a list of columns"};
  std::vector<const Column*> columns;
  const std::vector<std::string_view> words = words_of(arguments, " \t");
  bool full = false;
  bool user = false;
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::string_view letters = words[i];
    const bool dashed = letters.starts_with('-');
    if (dashed) letters.remove_prefix(1);
    if (letters.empty() || letters.starts_with('-')) return refused;
    for (std::size_t at = 0; at < letters.size(); ++at) {
      const char letter = letters[at];
      if (letter == 'o') {  // takes the rest of the word, or the next one
        std::string_view list = letters.substr(at + 1);
        if (list.empty() && ++i < words.size()) list = words[i];
        if (list.empty()) return refused;
        auto listed = columns_of_list(list);
        if (!listed) return listed;
        columns.insert(columns.end(), listed->begin(), listed->end());
        if (columns.size() > kMostColumns)
          return Error{Code::kInvalidArgument, "ps: too many columns"};
        break;
      }
      if (letter == 'f' && dashed)
        full = true;
      else if (letter == 'u' && !dashed)
        user = true;
      else if (letter != 'e' && letter != 'A' && letter != 'a' && letter != 'x' && letter != 'w')
        return refused;
    }
  }
  if (!columns.empty()) return columns;
  if (user) return user_format();
  if (full || words.empty()) return full_format();
  return named_columns({"pid", "tty", "time", "cmd"});
}

}  // namespace

Result<ProcessTable> make_process_table(const protocol::ProcessList& list,
                                        std::string_view arguments, std::int64_t now_s) {
  const auto columns = choose_columns(arguments);
  if (!columns) return columns.error();
  const Column* pid = named_column("pid");
  if (std::find(columns->begin(), columns->end(), pid) == columns->end())
    return Error{Code::kInternal, "Couldn't find PID field in ps output"};
  const Moment moment{.now_s = now_s,
                      .boot_s = believable(list.boot_time_s),
                      .total_memory = list.total_memory_bytes};
  ProcessTable table;
  for (const Column* column : *columns) table.titles.emplace_back(column->title);
  for (const protocol::ProcessList::Entry& entry : list.processes) {
    if (table.rows.size() == std::min(kMostRows, kMostCells / columns->size())) break;
    const ProcessStat stat = parse_stat(entry);
    std::vector<std::string> row;
    for (const Column* column : *columns) row.push_back(column->value(stat, moment));
    table.rows.push_back(std::move(row));
  }
  return table;
}

}  // namespace engine
