#include "api/engine/settings/mount_points.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <set>

#include "api/engine/settings/json_fields.h"
#include "api/engine/state/identifiers.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;

namespace {

constexpr std::size_t kLongestName = 255;
constexpr std::size_t kLongestPath = 4095;  // PATH_MAX, without the NUL
constexpr std::size_t kShown = 256;         // of a client's text in an error

Error invalid(std::string message) { return Error{Code::kInvalidArgument, std::move(message)}; }

std::string shown(const std::string& text) { return text.substr(0, kShown); }

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (std::size_t end = 0; end != std::string::npos; begin = end + 1) {
    end = text.find(separator, begin);
    parts.push_back(text.substr(begin, end == std::string::npos ? end : end - begin));
  }
  return parts;
}

std::string normal(const std::string& path) {
  std::string result = std::filesystem::path("/" + path).lexically_normal().string();
  while (result.size() > 1 && result.ends_with('/')) result.pop_back();
  return result;
}

Result<std::string> destination_of(const std::string& path) {
  if (!path.starts_with('/'))
    return invalid("invalid mount path: '" + shown(path) + "' mount path must be absolute");
  std::string result = normal(path);
  if (result == "/") return invalid("invalid specification: destination can't be '/'");
  return result;
}

/// "name:/path", "name:/path:ro", "/path"; with a path of the host before the colon: a bind mount.
Result<MountWish> parse_bind(const std::string& text) {
  const auto refused = [&](const Error& why) {
    return Error{why.code, "invalid volume specification: '" + shown(text) +
                               "': invalid mount config for type \"volume\": " + why.message};
  };
  const std::vector<std::string> parts = split(text, ':');
  if (parts.size() > 3 || std::find(parts.begin(), parts.end(), "") != parts.end())
    return invalid("invalid volume specification: '" + shown(text) + "'");
  const std::string path = parts.size() == 1 ? parts[0] : parts[1];
  if (parts.size() > 1 && parts[0].starts_with('/'))
    return Error{Code::kNotSupported, "bind mounts are not supported yet: '" + shown(text) +
                                          "' names a directory of the host; a volume's name has "
                                          "no slash"};
  MountWish wish;
  if (parts.size() > 1) {
    wish.mount.volume = parts[0];
    RETURN_IF_ERROR(check_volume_name(parts[0]));
  }
  if (parts.size() == 3) RETURN_IF_ERROR(apply_mode(wish.mount, parts[2]));
  auto destination = destination_of(path);
  if (!destination) return refused(destination.error());
  wish.mount.destination = *std::move(destination);
  return wish;
}

Result<void> take_volume_options(const json& options, MountWish& wish) {
  for (const auto& [name, value] : options.items())
    if (name != "NoCopy" && name != "Labels" && name != "DriverConfig" && name != "Subpath" &&
        !value.is_null())
      return Error{Code::kNotSupported,
                   "VolumeOptions." + name.substr(0, 64) + " is not supported"};
  auto no_copy = flag_field(options, "NoCopy");
  auto labels = texts_field(options, "Labels");
  auto subpath = text_field(options, "Subpath");
  if (!no_copy) return std::move(no_copy).error();
  if (!labels) return std::move(labels).error();
  if (!subpath) return std::move(subpath).error();
  wish.mount.copy_up = !*no_copy;
  wish.labels = *std::move(labels);
  const std::filesystem::path below = std::filesystem::path(*subpath).lexically_normal();
  if (below.is_absolute() || (!below.empty() && *below.begin() == ".."))
    return invalid("subpath must be a relative path within the volume");
  if (!below.empty() && below != ".") wish.mount.subpath = below.string();
  const auto driver = options.find("DriverConfig");
  if (driver == options.end() || driver->is_null()) return {};
  if (!driver->is_object()) return invalid("invalid JSON: DriverConfig must be an object");
  auto name = text_field(*driver, "Name");
  auto own = texts_field(*driver, "Options");
  if (!name) return std::move(name).error();
  if (!own) return std::move(own).error();
  if (!name->empty()) wish.driver = *std::move(name);
  wish.options = *std::move(own);
  return {};
}

/// One of HostConfig.Mounts with Type volume.
Result<MountWish> parse_mount(const json& mount) {
  const auto refused = [](const Error& why) {
    return Error{why.code, "invalid mount config for type \"volume\": " + why.message};
  };
  MountWish wish;
  auto source = text_field(mount, "Source");
  auto target = text_field(mount, "Target");
  auto read_only = flag_field(mount, "ReadOnly");
  if (!source) return refused(source.error());
  if (!target) return refused(target.error());
  if (!read_only) return refused(read_only.error());
  for (const auto& [name, value] : mount.items()) {
    const bool known = name == "Type" || name == "Source" || name == "Target" ||
                       name == "ReadOnly" || name == "Consistency" || name == "VolumeOptions";
    if (!known && !value.is_null())
      return refused(invalid("field " + name.substr(0, 64) + " must not be specified"));
  }
  if (target->empty()) return refused(invalid("field Target must not be empty"));
  auto destination = destination_of(*target);
  if (!destination) return refused(destination.error());
  wish.mount.destination = *std::move(destination);
  wish.mount.read_only = *read_only;
  if (!source->empty()) {
    RETURN_IF_ERROR(check_volume_name(*source));
    wish.mount.volume = *std::move(source);
  }
  const auto options = mount.find("VolumeOptions");
  if (options == mount.end() || options->is_null()) return wish;
  if (!options->is_object()) return invalid("invalid JSON: VolumeOptions must be an object");
  if (auto taken = take_volume_options(*options, wish); !taken)
    return refused(std::move(taken).error());
  if (!wish.mount.subpath.empty() && wish.mount.volume.empty())
    return refused(invalid("must specify a volume name for subpath"));
  return wish;
}

/// Refuses two at one place.
class Places {
 public:
  explicit Places(const json& host) {
    for (const auto& [path, options] : host.at("Tmpfs").items()) taken_.insert(normal(path));
    for (const json& mount : host.at("Mounts"))
      if (mount.value("Type", json()) == "tmpfs")
        taken_.insert(normal(mount.at("Target").get<std::string>()));
  }

  bool take(const std::string& place) { return taken_.insert(place).second; }

 private:
  std::set<std::string> taken_;
};

Error taken_twice(const std::string& place) {
  return invalid("Duplicate mount point: " + shown(place));
}

}  // namespace

Result<void> apply_mode(MountPoint& mount, const std::string& mode) {
  constexpr std::array<std::string_view, 8> kWords{"ro",     "rw",         "z",      "Z",
                                                   "nocopy", "consistent", "cached", "delegated"};
  constexpr std::array<int, 8> kGroups{0, 0, 1, 1, 2, 3, 3, 3};
  std::set<int> seen;
  for (const std::string& word : split(mode, ',')) {
    const auto known = std::find(kWords.begin(), kWords.end(), word);
    if (known == kWords.end() ||
        !seen.insert(kGroups[static_cast<std::size_t>(known - kWords.begin())]).second)
      return invalid("invalid mode: " + shown(mode));
    if (word == "ro") mount.read_only = true;
    if (word == "nocopy") mount.copy_up = false;
  }
  mount.mode = mode;
  return {};
}

Result<void> check_volume_name(std::string_view name) {
  const std::string text = shown(std::string(name));
  if (name.size() == 1)
    return invalid("create " + text +
                   ": volume name is too short, names should be at least two alphanumeric "
                   "characters");
  if (name.size() > kLongestName)
    return invalid("create " + text + ": volume name is too long, maximum length is 255");
  if (!is_valid_name(name))
    return invalid("create " + text + ": \"" + text +
                   "\" includes invalid characters for a local volume name, only "
                   "\"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host "
                   "directory, use absolute path");
  return {};
}

Result<std::uint64_t> volume_bytes(const std::string& driver,
                                   const std::map<std::string, std::string>& options) {
  if (!driver.empty() && driver != "local")
    return Error{Code::kNotFound, "error looking up volume plugin " + shown(driver) +
                                      ": plugin \"" + shown(driver) + "\" not found"};
  for (const auto& [name, value] : options) {
    if (name == "type" || name == "device" || name == "o")
      return Error{Code::kNotSupported,
                   "the option \"" + name +
                       "\" of the local driver is not supported: a volume is a disk of its own, "
                       "whose only option is size"};
    if (name != "size") return invalid("invalid option: \"" + shown(name) + "\"");
  }
  const auto size = options.find("size");
  return size == options.end() ? Result<std::uint64_t>(0) : parse_disk_bytes(size->second);
}

Result<VolumesFrom> parse_volumes_from(const std::string& text) {
  const std::vector<std::string> parts = split(text, ':');
  if (parts.size() > 2 || parts[0].empty())
    return invalid("invalid VolumesFrom specification: '" + shown(text) + "'");
  MountPoint trial;
  if (parts.size() == 2) RETURN_IF_ERROR(apply_mode(trial, parts[1]));
  if (!trial.copy_up) return invalid("invalid mode: " + shown(parts[1]));
  return VolumesFrom{.container = parts[0], .read_only = trial.read_only};
}

Result<std::vector<MountWish>> mount_wishes(const Settings& settings) {
  const json& host = settings.host_config;
  const auto& driver = host.at("VolumeDriver").get_ref<const std::string&>();
  Places places(host);
  std::vector<MountWish> wishes;
  if (const json& binds = host.at("Binds"); !binds.is_null())
    for (const json& bind : binds) {
      auto wish = parse_bind(bind.get_ref<const std::string&>());
      if (!wish) return std::move(wish).error();
      wish->driver = driver;
      if (!places.take(wish->mount.destination)) return taken_twice(wish->mount.destination);
      wishes.push_back(*std::move(wish));
    }
  for (const json& mount : host.at("Mounts")) {
    if (mount.at("Type") != "volume") continue;
    auto wish = parse_mount(mount);
    if (!wish) return std::move(wish).error();
    if (!places.take(wish->mount.destination)) return taken_twice(wish->mount.destination);
    wishes.push_back(*std::move(wish));
  }
  for (MountWish& wish : wishes) {
    wish.mount.anonymous = wish.mount.volume.empty();
    if (wish.mount.mode.empty()) wish.mount.mode = "z";  // as dockerd shows it
  }
  if (const json& volumes = settings.config.at("Volumes"); !volumes.is_null())
    for (const auto& [path, nothing] : volumes.items()) {
      const std::string place = normal(path);
      if (place == "/")
        return invalid("invalid volume specification: '" + shown(path) +
                       "': invalid mount config for type \"volume\": invalid specification: "
                       "destination can't be '/'");
      if (!places.take(place)) continue;
      MountWish wish;
      wish.mount.destination = place;
      wish.mount.anonymous = true;
      wish.driver = driver;
      wishes.push_back(std::move(wish));
    }
  if (wishes.size() > kMostMounts)
    return invalid("a container has at most " + std::to_string(kMostMounts) + " volumes here");
  for (const MountWish& wish : wishes)
    if (wish.mount.destination.size() > kLongestPath || wish.mount.subpath.size() > kLongestPath)
      return invalid("invalid mount path: '" + shown(wish.mount.destination) +
                     "...' a path has at most " + std::to_string(kLongestPath) + " bytes");
  return wishes;
}

json to_json(const std::vector<MountPoint>& mounts) {
  json rows = json::array();
  for (const MountPoint& mount : mounts)
    rows.push_back({{"volume", mount.volume},
                    {"destination", mount.destination},
                    {"mode", mount.mode},
                    {"subpath", mount.subpath},
                    {"read_only", mount.read_only},
                    {"copy_up", mount.copy_up},
                    {"anonymous", mount.anonymous}});
  return rows;
}

namespace {

Stored<MountPoint> stored_mount(const json& value, const std::string& where) {
  MountPoint mount;
  StoredFields fields(value, where);
  fields.need({"volume", "destination"});
  fields.read("volume", mount.volume);
  fields.read("destination", mount.destination);
  fields.read("mode", mount.mode);
  fields.read("subpath", mount.subpath);
  fields.read("read_only", mount.read_only);
  fields.read("copy_up", mount.copy_up);
  fields.read("anonymous", mount.anonymous);
  // The one becomes a path on the host, the other one in the guest.
  if (!check_volume_name(mount.volume)) fields.complain("volume", "is no name of a volume");
  if (!mount.destination.starts_with('/')) fields.complain("destination", "is not absolute");
  return {std::move(mount), fields.damage()};
}

}  // namespace

Stored<std::vector<MountPoint>> stored_mounts(std::string_view text) {
  const json list = stored_json(text);
  Stored<std::vector<MountPoint>> stored;
  stored.damage = read_each(list, "mounts", [&](const json& value, const std::string& where) {
    Stored<MountPoint> mount = stored_mount(value, where);
    if (mount.damage.empty()) stored.value.push_back(std::move(mount.value));
    return std::move(mount.damage);
  });
  return stored;
}

}  // namespace engine
