#include "api/engine/security/seccomp_profile.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "vmm/base/letters.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;

namespace {

Error undecodable(const std::string& reason) {
  return Error{Code::kInternal, "Decoding seccomp profile failed: " + reason};
}

/// Go's words for the commonest mistake: a file's name where its contents belong.
Error syntax_error(std::string_view text, std::size_t byte) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos || byte > text.size())
    return undecodable("unexpected end of JSON input");
  constexpr std::string_view kBegins = "{[\"-0123456789tfn";
  if (kBegins.find(text[first]) == std::string_view::npos)
    return undecodable("invalid character '" + std::string(1, text[first]) +
                       "' looking for beginning of value");
  return undecodable("invalid JSON at byte " + std::to_string(byte));
}

/// One JSON object that is read into a struct as Go does it: names without regard to case, null
/// like what is left out, unknown names passed over. The first mistake is kept.
class Reader {
 public:
  Reader(const json& object, std::string path, std::optional<Error>& error)
      : object_(object), path_(std::move(path)), error_(error) {
    if (!object_.is_object()) wrong(path_, object_, "an object");
  }

  /// Null if there is none.
  const json* find(std::string_view name) const {
    if (!object_.is_object()) return nullptr;
    const json* found = nullptr;
    for (const auto& [key, value] : object_.items())
      if (base::equals_ignoring_case(key, name) && (found == nullptr || key == name))
        found = &value;
    return found == nullptr || found->is_null() ? nullptr : found;
  }

  void read(std::string_view name, std::string& out) { read_string(find(name), field(name), out); }

  void read(std::string_view name, std::uint64_t& out) {
    if (const json* value = find(name)) read_number(*value, field(name), out);
  }

  void read(std::string_view name, std::optional<std::uint64_t>& out) {
    if (const json* value = find(name)) read_number(*value, field(name), out.emplace());
  }

  void read(std::string_view name, std::vector<std::string>& out) {
    each(name, [&](const json& item, const std::string& at) {
      read_string(&item, at, out.emplace_back());
    });
  }

  /// `take(item, path)` for what is in the list of that name.
  template <typename Take>
  void each(std::string_view name, Take take) {
    const json* list = find(name);
    if (list == nullptr) return;
    if (!list->is_array()) return wrong(field(name), *list, "a list");
    for (std::size_t i = 0; i < list->size() && !error_; ++i)
      take((*list)[i], field(name) + "[" + std::to_string(i) + "]");
  }

  std::string field(std::string_view name) const {
    return path_.empty() ? std::string(name) : path_ + "." + std::string(name);
  }

  void wrong(const std::string& at, const json& value, const char* wanted) {
    fail(undecodable("json: cannot unmarshal " + std::string(value.type_name()) + " into " +
                     (at.empty() ? "the profile" : at) + ", which is " + wanted));
  }

  void fail(Error error) {
    if (!error_) error_ = std::move(error);
  }

  std::optional<Error>& error() { return error_; }

 private:
  void read_string(const json* value, const std::string& at, std::string& out) {
    if (value == nullptr || value->is_null()) return;
    if (!value->is_string()) return wrong(at, *value, "a string");
    out = value->get<std::string>();
  }

  void read_number(const json& value, const std::string& at, std::uint64_t& out) {
    if (!value.is_number_unsigned()) return wrong(at, value, "a number from 0 to 2^64-1");
    out = value.get<std::uint64_t>();
  }

  const json& object_;
  std::string path_;
  std::optional<Error>& error_;
};

/// "<kernel>.<major>", each 0 to 255.
std::optional<KernelVersion> parse_min_kernel(std::string_view text) {
  KernelVersion version;
  const char* const end = text.data() + text.size();
  const auto kernel = std::from_chars(text.data(), end, version.kernel);
  if (kernel.ec != std::errc() || kernel.ptr == end || *kernel.ptr != '.') return std::nullopt;
  const auto major = std::from_chars(kernel.ptr + 1, end, version.major);
  if (major.ec != std::errc() || major.ptr != end) return std::nullopt;
  if (version.kernel > 255 || version.major > 255 || version == KernelVersion{})
    return std::nullopt;
  return version;
}

void read_condition(Reader& rule, std::string_view name, SeccompCondition& out) {
  const json* value = rule.find(name);
  if (value == nullptr) return;
  Reader reader(*value, rule.field(name), rule.error());
  reader.read("caps", out.capabilities);
  reader.read("arches", out.architectures);
  std::string version;
  reader.read("minKernel", version);
  if (version.empty()) return;
  out.min_kernel = parse_min_kernel(version);
  if (!out.min_kernel)
    reader.fail(undecodable("invalid kernel version: " + json(version.substr(0, 64)).dump() +
                            ", expected \"<kernel>.<major>\""));
}

SeccompRule read_rule(const json& object, const std::string& path, std::optional<Error>& error) {
  SeccompRule rule;
  Reader reader(object, path, error);
  reader.read("names", rule.names);
  std::string name;
  reader.read("name", name);
  reader.read("action", rule.action);
  reader.read("errnoRet", rule.errno_return);
  reader.each("args", [&](const json& item, const std::string& at) {
    SeccompArgument argument;
    Reader argument_reader(item, at, error);
    argument_reader.read("index", argument.index);
    argument_reader.read("value", argument.value);
    argument_reader.read("valueTwo", argument.value_two);
    argument_reader.read("op", argument.op);
    rule.arguments.push_back(std::move(argument));
  });
  read_condition(reader, "includes", rule.includes);
  read_condition(reader, "excludes", rule.excludes);
  if (name.empty()) return rule;
  if (!rule.names.empty())
    reader.fail(Error{Code::kInternal,
                      "both 'name' and 'names' are specified in the seccomp profile, use either "
                      "'name' or 'names'"});
  rule.names = {std::move(name)};
  return rule;
}

/// The entry for this architecture, and those that are its kind.
void read_arch_map(Reader& reader, SeccompProfile& profile) {
  std::vector<std::string> mapped;
  bool any = false;
  bool found = false;
  reader.each("archMap", [&](const json& item, const std::string& at) {
    Reader entry(item, at, reader.error());
    std::string architecture;
    std::vector<std::string> kinds;
    entry.read("architecture", architecture);
    entry.read("subArchitectures", kinds);
    any = true;
    if (found || architecture != "SCMP_ARCH_X86_64") return;
    found = true;
    mapped = std::move(kinds);
    mapped.insert(mapped.begin(), std::move(architecture));
  });
  if (any && !profile.architectures.empty())
    reader.fail(Error{Code::kInternal,
                      "both 'architectures' and 'archMap' are specified in the seccomp profile, "
                      "use either 'architectures' or 'archMap'"});
  if (any) profile.architectures = std::move(mapped);
}

/// A listener outside of the machine would be asked about calls inside of it.
void refuse_listener(Reader& reader) {
  for (const char* name : {"listenerPath", "listenerMetadata"}) {
    std::string value;
    reader.read(name, value);
    if (!value.empty())
      reader.fail(Error{Code::kNotSupported, "the seccomp profile's " + std::string(name) +
                                                 " is not supported: nobody outside of a "
                                                 "container's machine can answer for its kernel"});
  }
}

}  // namespace

KernelVersion kernel_version_of(std::string_view release) {
  KernelVersion version;
  const char* const end = release.data() + release.size();
  const auto kernel = std::from_chars(release.data(), end, version.kernel);
  if (kernel.ec != std::errc() || kernel.ptr == end || *kernel.ptr != '.') return {};
  const auto major = std::from_chars(kernel.ptr + 1, end, version.major);
  return major.ec == std::errc() ? version : KernelVersion{};
}

Result<std::optional<SeccompProfile>> parse_seccomp_profile(std::string_view text) {
  json parsed;
  try {
    parsed = json::parse(text);
  } catch (const json::parse_error& error) {
    return syntax_error(text, error.byte);
  } catch (const json::exception&) {  // a number that no type holds
    return undecodable("invalid JSON");
  }
  SeccompProfile profile;
  if (parsed.is_null()) return std::optional<SeccompProfile>();
  std::optional<Error> error;
  Reader reader(parsed, "", error);
  reader.read("defaultAction", profile.default_action);
  reader.read("defaultErrnoRet", profile.default_errno_return);
  reader.read("architectures", profile.architectures);
  if (reader.find("flags") != nullptr) reader.read("flags", profile.flags.emplace());
  reader.each("syscalls", [&](const json& item, const std::string& at) {
    profile.rules.push_back(read_rule(item, at, error));
  });
  if (!error && profile.default_action.empty() && profile.rules.empty())
    return std::optional<SeccompProfile>();
  read_arch_map(reader, profile);
  refuse_listener(reader);
  if (error) return *std::move(error);
  return std::optional<SeccompProfile>(std::move(profile));
}

}  // namespace engine
