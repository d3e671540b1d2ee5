#include "api/engine/settings/mounts/tmpfs_mounts.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>
#include <string_view>

#include "api/engine/state/json_fields.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;
using Tmpfs = protocol::PrepareContainer::Tmpfs;

namespace {

Error invalid(std::string message) { return Error{Code::kInvalidArgument, std::move(message)}; }

/// Absent, or an integer from 0 to `most`.
bool is_number_up_to(const json& object, const char* field, std::int64_t most) {
  const auto found = object.find(field);
  if (found == object.end() || found->is_null()) return true;
  return is_integer(*found) && *found >= 0 && found->get<std::int64_t>() <= most;
}

bool is_filled(const json& object, const char* field) {
  const auto found = object.find(field);
  return found != object.end() && !found->is_null() && *found != "";
}

Error bad_tmpfs(const std::string& why) {
  return invalid("invalid mount config for type \"tmpfs\": " + why);
}

/// TmpfsOptions of a mount as mount(8) writes them.
Result<std::string> tmpfs_options(const json& mount) {
  std::string text = mount.value("ReadOnly", json(false)) == true ? "ro" : "rw";
  const auto options = mount.find("TmpfsOptions");
  if (options == mount.end() || options->is_null()) return text;
  const bool usable = options->is_object() && is_number_up_to(*options, "SizeBytes", INT64_MAX) &&
                      is_number_up_to(*options, "Mode", UINT32_MAX);
  if (!usable) return invalid("invalid JSON: HostConfig.Mounts.TmpfsOptions");
  if (const json size = options->value("SizeBytes", json(0)); size.is_number_integer() && size > 0)
    text += ",size=" + std::to_string(size.get<std::int64_t>());
  if (const json mode = options->value("Mode", json(0)); mode.is_number_integer() && mode > 0) {
    std::array<char, 16> octal{};
    std::snprintf(octal.data(), octal.size(), ",mode=%o", mode.get<unsigned>() & 07777u);
    text += octal.data();
  }
  return text;
}

/// One of HostConfig.Mounts with Type tmpfs.
Result<Tmpfs> parse_tmpfs(const json& mount) {
  const json target = mount.value("Target", json(""));
  if (!target.is_string() || !target.get_ref<const std::string&>().starts_with('/'))
    return bad_tmpfs(target == "" || target.is_null()
                         ? "field Target must not be empty"
                         : "invalid mount path: mount path must be absolute");
  if (is_filled(mount, "Source")) return bad_tmpfs("field Source must not be specified");
  auto options = tmpfs_options(mount);
  if (!options) return std::move(options).error();
  for (const auto& [name, value] : mount.items())
    if (name != "Type" && name != "Target" && name != "TmpfsOptions" && name != "ReadOnly" &&
        !value.is_null() && value != "" && value != false)
      return Error{Code::kNotSupported,
                   "HostConfig.Mounts." + name.substr(0, 64) + " is not supported for tmpfs"};
  return Tmpfs{.path = target.get<std::string>(), .options = *std::move(options)};
}

}  // namespace

Result<std::vector<Tmpfs>> parse_all_tmpfs(const json& host) {
  constexpr std::array<std::string_view, 5> kTypes{"bind", "volume", "npipe", "cluster", "image"};
  std::vector<Tmpfs> all;
  for (const auto& [path, options] : host.at("Tmpfs").items()) {
    if (!path.starts_with('/'))
      return invalid("invalid mount path: '" + path.substr(0, 128) +
                     "' mount path must be absolute");
    all.push_back({.path = path, .options = options.get<std::string>()});
  }
  for (const json& mount : host.at("Mounts")) {
    if (!mount.is_object()) return invalid("invalid JSON: HostConfig.Mounts");
    const json type = mount.value("Type", json(""));
    const bool known = type.is_string() && std::find(kTypes.begin(), kTypes.end(),
                                                     type.get<std::string>()) != kTypes.end();
    if (type != "tmpfs" && !known)
      return invalid("invalid mount config for type " + type.dump().substr(0, 64) +
                     ": mount type unknown");
    if (type == "volume" || type == "bind") continue;  // parse_volumes()
    if (type != "tmpfs")
      return Error{Code::kNotSupported,
                   "mounts of type " + type.dump().substr(0, 64) + " are not supported yet"};
    auto tmpfs = parse_tmpfs(mount);
    if (!tmpfs) return std::move(tmpfs).error();
    all.push_back(*std::move(tmpfs));
  }
  return all;
}

}  // namespace engine
