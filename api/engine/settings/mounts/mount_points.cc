#include "api/engine/settings/mounts/mount_points.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <set>

#include "api/engine/settings/mounts/tmpfs_mounts.h"
#include "api/engine/state/identifiers.h"
#include "api/engine/state/json_fields.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;
using Tmpfs = protocol::PrepareContainer::Tmpfs;

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

/// "name:/path", "name:/path:ro", "/path", or a bind mount: "/host:/path".
Result<MountWish> parse_bind(const std::string& text) {
  const std::vector<std::string> parts = split(text, ':');
  if (parts.size() > 3 || std::find(parts.begin(), parts.end(), "") != parts.end())
    return invalid("invalid volume specification: '" + shown(text) + "'");
  MountWish wish;
  const bool bind = parts.size() > 1 && parts[0].starts_with('/');
  const auto refused = [&](const Error& why) {
    return Error{why.code, "invalid volume specification: '" + shown(text) +
                               "': invalid mount config for type \"" + (bind ? "bind" : "volume") +
                               "\": " + why.message};
  };
  if (bind) {
    wish.mount.host = {.path = normal(parts[0]), .create = true};
  } else if (parts.size() > 1) {
    wish.mount.volume = parts[0];
    RETURN_IF_ERROR(check_volume_name(parts[0]));
  }
  if (parts.size() == 3) RETURN_IF_ERROR(apply_mode(wish.mount, parts[2]));
  if (bind && !wish.mount.copy_up)
    return refused(invalid("field VolumeOptions must not be specified"));
  auto destination = destination_of(parts.size() == 1 ? parts[0] : parts[1]);
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

/// Refuses each propagation but the one that a container's mounts have, whatever it is called.
Result<void> check_propagation(const std::string& propagation) {
  constexpr std::array<std::string_view, 4> kOthers{"shared", "rshared", "slave", "rslave"};
  if (propagation.empty() || propagation == "private" || propagation == "rprivate") return {};
  if (std::find(kOthers.begin(), kOthers.end(), propagation) == kOthers.end())
    return invalid("invalid propagation mode: " + shown(propagation));
  return Error{Code::kNotSupported,
               "the propagation \"" + propagation +
                   "\" is not supported: a container has what is mounted on the host when it "
                   "starts, and what it mounts is its machine's own"};
}

Result<void> take_bind_options(const json& options, MountWish& wish) {
  for (const auto& [name, value] : options.items())
    if (name != "Propagation" && name != "NonRecursive" && name != "CreateMountpoint" &&
        name != "ReadOnlyNonRecursive" && name != "ReadOnlyForceRecursive" && !value.is_null())
      return Error{Code::kNotSupported, "BindOptions." + name.substr(0, 64) + " is not supported"};
  auto propagation = text_field(options, "Propagation");
  const auto non_recursive = flag_field(options, "NonRecursive");
  const auto create = flag_field(options, "CreateMountpoint");
  const auto not_below = flag_field(options, "ReadOnlyNonRecursive");
  const auto force_below = flag_field(options, "ReadOnlyForceRecursive");
  if (!propagation) return std::move(propagation).error();
  for (const auto* flag : {&non_recursive, &create, &not_below, &force_below})
    if (!*flag) return flag->error();
  RETURN_IF_ERROR(check_propagation(*propagation));
  for (const auto& [flag, name] : {std::pair(*not_below, "ReadOnlyNonRecursive"),
                                   std::pair(*force_below, "ReadOnlyForceRecursive")})
    if (flag && !wish.mount.read_only)
      return invalid(std::string("mount source must be read-only with ") + name);
  if (*not_below && *force_below)
    return invalid("ReadOnlyForceRecursive and ReadOnlyNonRecursive are mutually exclusive");
  wish.mount.host.mounts_below = !*non_recursive;
  wish.mount.host.read_only_below = !*not_below;
  wish.mount.host.create = *create;
  return {};
}

/// One of HostConfig.Mounts with Type bind.
Result<MountWish> parse_bind_mount(const json& mount) {
  const auto refused = [](const Error& why) {
    return Error{why.code, "invalid mount config for type \"bind\": " + why.message};
  };
  auto source = text_field(mount, "Source");
  auto target = text_field(mount, "Target");
  const auto consistency = text_field(mount, "Consistency");
  const auto read_only = flag_field(mount, "ReadOnly");
  for (const auto* text : {&std::as_const(source), &std::as_const(target), &consistency})
    if (!*text) return refused(text->error());
  if (!read_only) return refused(read_only.error());
  for (const auto& [name, value] : mount.items()) {
    const bool known = name == "Type" || name == "Source" || name == "Target" ||
                       name == "ReadOnly" || name == "Consistency" || name == "BindOptions";
    if (!known && !value.is_null())
      return refused(invalid("field " + name.substr(0, 64) + " must not be specified"));
  }
  if (target->empty()) return refused(invalid("field Target must not be empty"));
  if (source->empty()) return refused(invalid("field Source must not be empty"));
  if (!source->starts_with('/'))
    return refused(
        invalid("invalid mount path: '" + shown(*source) + "' mount path must be absolute"));
  auto destination = destination_of(*target);
  if (!destination) return refused(destination.error());
  MountWish wish;
  wish.mount.destination = *std::move(destination);
  wish.mount.read_only = *read_only;
  wish.mount.host.path = normal(*source);
  wish.mount.host.relaxed = *consistency == "cached" || *consistency == "delegated";
  const auto options = mount.find("BindOptions");
  if (options != mount.end() && !options->is_null()) {
    if (!options->is_object()) return invalid("invalid JSON: BindOptions must be an object");
    if (auto taken = take_bind_options(*options, wish); !taken)
      return refused(std::move(taken).error());
  }
  wish.must_exist = !wish.mount.host.create;
  return wish;
}

/// Refuses two at one place.
class Places {
 public:
  explicit Places(const std::vector<Tmpfs>& all) {
    for (const Tmpfs& tmpfs : all) taken_.insert(normal(tmpfs.path));
  }

  bool take(const std::string& place) { return taken_.insert(place).second; }

 private:
  std::set<std::string> taken_;
};

Error taken_twice(const std::string& place) {
  return invalid("Duplicate mount point: " + shown(place));
}

/// The volumes and bind mounts of HostConfig: those of Binds and of Mounts.
Result<std::vector<MountWish>> asked_volumes(const json& host, Places& places) {
  std::vector<MountWish> wishes;
  for (const json& bind : host.at("Binds")) {
    auto wish = parse_bind(bind.get_ref<const std::string&>());
    if (!wish) return std::move(wish).error();
    wish->driver = text_in(host, "VolumeDriver");
    wishes.push_back(*std::move(wish));
    if (!places.take(wishes.back().mount.destination))
      return taken_twice(wishes.back().mount.destination);
  }
  for (const json& mount : host.at("Mounts")) {
    if (mount.at("Type") == "tmpfs") continue;
    auto wish = mount.at("Type") == "bind" ? parse_bind_mount(mount) : parse_mount(mount);
    if (!wish) return std::move(wish).error();
    wishes.push_back(*std::move(wish));
    if (!places.take(wishes.back().mount.destination))
      return taken_twice(wishes.back().mount.destination);
  }
  for (MountWish& wish : wishes) {
    if (wish.mount.is_bind()) continue;
    wish.mount.anonymous = wish.mount.volume.empty();
    if (wish.mount.mode.empty()) wish.mount.mode = "z";  // as dockerd shows it
  }
  return wishes;
}

Result<std::set<std::string>> places_of_volumes(const json& config) {
  std::set<std::string> places;
  for (const auto& [path, nothing] : config.at("Volumes").items()) {
    std::string place = normal(path);
    if (place == "/")
      return invalid("invalid volume specification: '" + shown(path) +
                     "': invalid mount config for type \"volume\": invalid specification: "
                     "destination can't be '/'");
    places.insert(std::move(place));
  }
  return places;
}

Result<void> check_bounds(const std::vector<MountWish>& wishes) {
  if (wishes.size() > kMostMounts)
    return invalid("a container has at most " + std::to_string(kMostMounts) +
                   " volumes and bind mounts here");
  for (const MountWish& wish : wishes)
    if (wish.mount.destination.size() > kLongestPath || wish.mount.subpath.size() > kLongestPath ||
        wish.mount.host.path.size() > kLongestPath)
      return invalid("invalid mount path: '" + shown(wish.mount.destination) +
                     "...' a path has at most " + std::to_string(kLongestPath) + " bytes");
  return {};
}

Result<void> parse_volumes(const json& config, const json& host, Mounts& mounts) {
  Places taken(mounts.tmpfs);
  auto wishes = asked_volumes(host, taken);
  if (!wishes) return std::move(wishes).error();
  const auto places = places_of_volumes(config);
  if (!places) return places.error();
  for (const std::string& place : *places) {
    if (!taken.take(place)) continue;
    MountWish wish;
    wish.mount.destination = place;
    wish.mount.anonymous = true;
    wish.driver = text_in(host, "VolumeDriver");
    wishes->push_back(std::move(wish));
  }
  RETURN_IF_ERROR(check_bounds(*wishes));
  mounts.volumes = *std::move(wishes);
  mounts.volume_places.assign(places->begin(), places->end());
  for (const std::string& source : strings_in(host, "VolumesFrom")) {
    auto from = parse_volumes_from(source);
    if (!from) return std::move(from).error();
    mounts.volumes_from.push_back(*std::move(from));
  }
  return {};
}

}  // namespace

Result<void> apply_mode(MountPoint& mount, const std::string& mode) {
  struct Word {
    std::string_view text;
    int group;  // of which a mode has one word at most
  };
  constexpr std::array<Word, 14> kWords{{{"ro", 0},
                                         {"rw", 0},
                                         {"z", 1},
                                         {"Z", 1},
                                         {"nocopy", 2},
                                         {"consistent", 3},
                                         {"cached", 3},
                                         {"delegated", 3},
                                         {"private", 4},
                                         {"rprivate", 4},
                                         {"shared", 4},
                                         {"rshared", 4},
                                         {"slave", 4},
                                         {"rslave", 4}}};
  std::set<int> seen;
  for (const std::string& word : split(mode, ',')) {
    const auto known = std::ranges::find(kWords, std::string_view(word), &Word::text);
    const bool allowed = known != kWords.end() && (mount.is_bind() || known->group != 4);
    if (!allowed || !seen.insert(known->group).second)
      return invalid("invalid mode: " + shown(mode));
    if (known->group == 4) RETURN_IF_ERROR(check_propagation(word));
    if (word == "ro") mount.read_only = true;
    if (word == "nocopy") mount.copy_up = false;
    if (word == "cached" || word == "delegated") mount.host.relaxed = true;
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

Result<VolumesFrom> parse_volumes_from(const std::string& text) {
  const std::vector<std::string> parts = split(text, ':');
  if (parts.size() > 2 || parts[0].empty())
    return invalid("invalid VolumesFrom specification: '" + shown(text) + "'");
  MountPoint trial;
  if (parts.size() == 2) RETURN_IF_ERROR(apply_mode(trial, parts[1]));
  if (!trial.copy_up) return invalid("invalid mode: " + shown(parts[1]));
  return VolumesFrom{.container = parts[0], .read_only = trial.read_only};
}

Result<Mounts> parse_mounts(const json& config, const json& host) {
  Mounts mounts;
  const std::int64_t shm_bytes = integer_in(host, "ShmSize");
  if (shm_bytes < 0) return invalid("SHM size can not be less than 0");
  if (shm_bytes > 0) mounts.shm_bytes = static_cast<std::uint64_t>(shm_bytes);
  mounts.read_only_root = flag_in(host, "ReadonlyRootfs");
  auto tmpfs = parse_all_tmpfs(host);
  if (!tmpfs) return std::move(tmpfs).error();
  mounts.tmpfs = *std::move(tmpfs);
  RETURN_IF_ERROR(parse_volumes(config, host, mounts));
  return mounts;
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
                    {"host", mount.host.path},
                    {"host_create", mount.host.create},
                    {"host_mounts_below", mount.host.mounts_below},
                    {"host_read_only_below", mount.host.read_only_below},
                    {"host_relaxed", mount.host.relaxed},
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
  fields.read("host", mount.host.path);
  fields.read("host_create", mount.host.create);
  fields.read("host_mounts_below", mount.host.mounts_below);
  fields.read("host_read_only_below", mount.host.read_only_below);
  fields.read("host_relaxed", mount.host.relaxed);
  // The one becomes a path on the host, the other one in the guest.
  if (mount.is_bind() && !mount.host.path.starts_with('/'))
    fields.complain("host", "is not absolute");
  if (!mount.is_bind() && !check_volume_name(mount.volume))
    fields.complain("volume", "is no name of a volume");
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
