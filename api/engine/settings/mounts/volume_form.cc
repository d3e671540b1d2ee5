#include "api/engine/settings/mounts/volume_form.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "api/engine/settings/mounts/disk_size.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

using Options = std::map<std::string, std::string>;

constexpr std::size_t kShown = 256;          // of a client's text in an error
constexpr std::size_t kLongestPath = 4095;   // PATH_MAX, without the NUL
constexpr std::size_t kLongestWords = 4096;  // a page, as mount(2) takes

Error invalid(std::string message) { return Error{Code::kInvalidArgument, std::move(message)}; }

std::string shown(std::string_view text) { return std::string(text.substr(0, kShown)); }

std::string value_of(const Options& options, const char* name) {
  const auto found = options.find(name);
  return found == options.end() ? std::string() : found->second;
}

Result<void> check_names(const Options& options) {
  constexpr std::array<std::string_view, 4> kNames{"device", "o", "size", "type"};
  for (const auto& [name, value] : options)
    if (std::ranges::find(kNames, name) == kNames.end())
      return invalid("invalid option: \"" + shown(name) + "\"");
  return {};
}

/// Each of these wants the other two of them, but for `o`.
Result<void> check_mount_is_whole(const Options& options) {
  for (const char* needed : {"device", "type"})
    if (!options.contains(needed))
      return invalid("missing required option: \"" + std::string(needed) + "\"");
  return {};
}

Result<VolumeForm> disk_form(const Options& options) {
  for (const char* other : {"device", "o"})
    if (options.contains(other))
      return invalid("a volume of type \"disk\" is made on the host, and has no option \"" +
                     std::string(other) + "\"");
  VolumeForm form{.kind = VolumeKind::kDisk};
  const auto size = options.find("size");
  if (size == options.end()) return form;
  const auto bytes = parse_disk_bytes(size->second);
  if (!bytes) return bytes.error();
  form.bytes = *bytes;
  return form;
}

/// Words of `o` as mount(8) has them. Of two that contradict each other the later one counts.
Result<void> take_word(std::string_view word, VolumeForm& form) {
  if (word == "bind") {
    form.kind = VolumeKind::kBind;
  } else if (word == "rbind") {
    form.kind = VolumeKind::kBind;
    form.mounts_below = true;
  } else if (word == "ro" || word == "rw") {
    form.read_only = word == "ro";
  } else if (word == "nosuid") {
    form.restrictions.no_setuid = true;
  } else if (word == "nodev") {
    form.restrictions.no_devices = true;
  } else if (word == "noexec") {
    form.restrictions.no_exec = true;
  } else if (word != "defaults") {
    return Error{Code::kNotSupported,
                 "the mount option \"" + shown(word) +
                     "\" is not supported: \"o\" of a volume that is a directory of the host may "
                     "have bind, rbind, ro, rw, nosuid, nodev, noexec and defaults"};
  }
  return {};
}

Result<void> take_words(std::string_view words, VolumeForm& form) {
  if (words.size() > kLongestWords)
    return invalid("\"o\" has at most " + std::to_string(kLongestWords) + " bytes");
  while (true) {
    const std::size_t end = words.find(',');
    RETURN_IF_ERROR(take_word(words.substr(0, end), form));
    if (end == std::string_view::npos) return {};
    words.remove_prefix(end + 1);
  }
}

/// Why a volume is of no other type.
Error other_type(const std::string& type) {
  const std::string begin =
      "volumes of type \"" + shown(type) + "\" are not supported by the local driver: ";
  if (type == "tmpfs")
    return {Code::kNotSupported,
            begin +
                "memory of the host is not shared between machines; a container has a tmpfs of its "
                "own by --tmpfs, or by --mount type=tmpfs"};
  return {Code::kNotSupported,
          begin +
              "this host mounts no file systems for containers; mount it on the host, and make the "
              "volume with type=none, o=bind and the directory as its device"};
}

Result<void> take_device(std::string device, VolumeForm& form) {
  if (!device.starts_with('/'))
    return invalid("the device \"" + shown(device) +
                   "\" of a volume must be the absolute path of a directory of the host");
  if (device.size() > kLongestPath || device.find('\0') != std::string::npos)
    return invalid("the device of a volume must be a path of at most " +
                   std::to_string(kLongestPath) + " bytes, without NUL");
  form.device = std::move(device);
  return {};
}

/// A bind mount has no type: mount(2) ignores it.
Result<VolumeForm> mount_form(const Options& options) {
  RETURN_IF_ERROR(check_mount_is_whole(options));
  const std::string type = value_of(options, "type");
  if (!type.empty() && type != "none" && type != "bind") return other_type(type);
  if (options.contains("size"))
    return invalid(
        "quota size requested but no quota support: a directory of the host takes what it has "
        "room for");
  VolumeForm form;
  if (options.contains("o")) RETURN_IF_ERROR(take_words(value_of(options, "o"), form));
  if (form.kind != VolumeKind::kBind)
    return invalid("a volume of type \"none\" needs \"bind\" or \"rbind\" among its \"o\"");
  RETURN_IF_ERROR(take_device(value_of(options, "device"), form));
  return form;
}

}  // namespace

Result<VolumeForm> volume_form(const std::string& driver, const Options& options) {
  if (!driver.empty() && driver != "local")
    return Error{Code::kNotFound, "error looking up volume plugin " + shown(driver) +
                                      ": plugin \"" + shown(driver) + "\" not found"};
  RETURN_IF_ERROR(check_names(options));
  if (options.empty()) return VolumeForm{};
  const bool only_size = options.size() == 1 && options.contains("size");
  if (only_size || value_of(options, "type") == "disk") return disk_form(options);
  return mount_form(options);
}

}  // namespace engine
