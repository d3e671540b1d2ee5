#include "images/registry/documents/manifest.h"

#include <algorithm>
#include <array>

#include "images/store/values/image_config.h"
#include "images/store/values/json.h"
#include "images/store/values/reference.h"
#include "vmm/base/letters.h"

namespace registry {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr std::size_t kMaxEntries = 1000;
constexpr std::int64_t kMaxBlobBytes = std::int64_t{64} << 30;

Error invalid(std::string_view why) {
  return {Code::kInvalidArgument, "invalid manifest: " + std::string(why)};
}

/// As containerd's platforms package has it: other names for the same machines.
void normalize(Platform& platform) {
  platform.os = base::lower_case(platform.os);
  platform.architecture = base::lower_case(platform.architecture);
  platform.variant = base::lower_case(platform.variant);
  if (platform.os == "macos") platform.os = "darwin";
  std::string& architecture = platform.architecture;
  if (architecture == "x86_64" || architecture == "x86-64") architecture = "amd64";
  if (architecture == "aarch64") architecture = "arm64";
  if (architecture == "i386") architecture = "386";
  if (architecture == "amd64" && platform.variant == "v1") platform.variant.clear();
  if (architecture == "arm64" && (platform.variant == "8" || platform.variant == "v8"))
    platform.variant.clear();
}

bool is_word(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-';
  });
}

Result<Descriptor> parse_descriptor(const nlohmann::json& json) {
  images::JsonObject object(json);
  Descriptor descriptor{.media_type = object.text("mediaType"),
                        .digest = object.text("digest"),
                        .size = 0,
                        .platform = std::nullopt};
  const std::int64_t size = object.find("size") ? object.integer("size") : -1;
  if (const nlohmann::json* platform = object.find("platform")) {
    images::JsonObject fields(*platform);
    descriptor.platform = Platform{.os = fields.text("os"),
                                   .architecture = fields.text("architecture"),
                                   .variant = fields.text("variant")};
    if (!fields.ok()) return invalid("a field of a platform is not a string");
    normalize(*descriptor.platform);
  }
  if (!object.ok()) return invalid("a field of a descriptor has the wrong type");
  if (!images::is_sha256_digest(descriptor.digest)) return invalid("unsupported digest algorithm");
  if (size < 0 || size > kMaxBlobBytes)
    return invalid(descriptor.digest + " has an impossible size");
  descriptor.size = static_cast<std::uint64_t>(size);
  return descriptor;
}

bool is_one_of(std::string_view type, std::initializer_list<std::string_view> types) {
  return std::find(types.begin(), types.end(), type) != types.end();
}

Result<void> check_config_type(const std::string& type) {
  if (is_one_of(type, {media::kDockerConfig, media::kOciConfig, "application/octet-stream",
                       "application/json", "text/html", ""}))
    return {};
  return Error{Code::kNotSupported, "Encountered remote \"" + type + "\"(unknown) when fetching"};
}

Result<void> check_layer_type(const Descriptor& layer) {
  const std::string& type = layer.media_type;
  if (type.find("foreign") != std::string::npos || type.find("nondistributable") != type.npos)
    return Error{Code::kNotSupported, "layer " + layer.digest +
                                          " is not distributable: it would have to come from "
                                          "elsewhere than the registry"};
  if (type.ends_with("+encrypted"))
    return Error{Code::kNotSupported, "layer " + layer.digest + " is encrypted"};
  return {};
}

}  // namespace

Platform Platform::host() {
  return {.os = "linux", .architecture = std::string(images::host_architecture()), .variant = {}};
}

Result<Platform> Platform::parse(std::string_view text) {
  std::vector<std::string_view> parts;
  for (std::string_view rest = text; parts.size() <= 3;) {
    const std::size_t slash = rest.find('/');
    parts.push_back(rest.substr(0, slash));
    if (slash == std::string_view::npos) break;
    rest.remove_prefix(slash + 1);
  }
  if (parts.size() > 3 || !std::all_of(parts.begin(), parts.end(), is_word))
    return Error{Code::kInvalidArgument, "\"" + std::string(text.substr(0, 128)) +
                                             "\": platform specifier must be of the form "
                                             "os[/architecture[/variant]]"};
  Platform platform = host();
  if (parts.size() == 1) {
    Platform alone{.os = {}, .architecture = std::string(parts[0]), .variant = {}};
    normalize(alone);
    const bool is_os = is_one_of(alone.architecture, {"linux", "windows", "darwin", "freebsd"});
    (is_os ? platform.os : platform.architecture) = alone.architecture;
    return platform;
  }
  platform.os = parts[0];
  platform.architecture = parts[1];
  if (parts.size() == 3) platform.variant = parts[2];
  normalize(platform);
  return platform;
}

std::string Platform::text() const {
  return os + "/" + architecture + (variant.empty() ? "" : "/" + variant);
}

Result<ManifestKind> kind_of(std::string_view media_type, std::string_view json,
                             std::string_view name) {
  auto parsed = images::parse_json(json, "invalid manifest");
  if (!parsed) return std::move(parsed).error();
  images::JsonObject object(*parsed);
  std::string type = base::lower_case(media_type.substr(0, media_type.find(';')));
  while (type.ends_with(' ')) type.pop_back();
  const std::string own = object.text("mediaType");
  const std::int64_t schema = object.integer("schemaVersion");
  if (!object.ok()) return invalid("mediaType or schemaVersion has the wrong type");
  if (type == "application/vnd.docker.distribution.manifest.v1+json" ||
      type == "application/vnd.docker.distribution.manifest.v1+prettyjws" || schema == 1)
    return Error{Code::kNotSupported,
                 "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has "
                 "been removed. Suggest the author of " +
                     std::string(name) +
                     " to upgrade the image to the OCI Format or Docker Image manifest v2, "
                     "schema 2."};
  if (!own.empty() && !type.empty() && type != "application/json" && type != own)
    return invalid("its mediaType is \"" + own.substr(0, 128) + "\", but the registry says \"" +
                   type.substr(0, 128) + "\"");
  if (!own.empty()) type = own;
  if (is_one_of(type, {media::kDockerManifest, media::kOciManifest})) return ManifestKind::kImage;
  if (is_one_of(type, {media::kDockerList, media::kOciIndex})) return ManifestKind::kIndex;
  return Error{Code::kNotSupported,
               "unsupported manifest media type and no default available: " + type.substr(0, 128)};
}

Result<ImageManifest> parse_image_manifest(std::string_view json) {
  auto parsed = images::parse_json(json, "invalid manifest");
  if (!parsed) return std::move(parsed).error();
  images::JsonObject object(*parsed);
  if (object.find("manifests")) return invalid("an image manifest must not have \"manifests\"");
  const nlohmann::json* config = object.find("config");
  if (!config) return invalid("it has no \"config\"");
  auto config_descriptor = parse_descriptor(*config);
  if (!config_descriptor) return std::move(config_descriptor).error();
  RETURN_IF_ERROR(check_config_type(config_descriptor->media_type));
  if (config_descriptor->size > images::kMaxConfigBytes)
    return Error{Code::kResourceExhausted, "the image's configuration is larger than the limit"};
  ImageManifest manifest{.config = *std::move(config_descriptor), .layers = {}};
  for (const nlohmann::json* item : object.objects("layers")) {
    if (manifest.layers.size() >= images::kMaxLayers)
      return Error{Code::kNotSupported, "max depth exceeded: an image has at most " +
                                            std::to_string(images::kMaxLayers) + " layers"};
    if (!item->is_object()) break;
    auto layer = parse_descriptor(*item);
    if (!layer) return std::move(layer).error();
    RETURN_IF_ERROR(check_layer_type(*layer));
    manifest.layers.push_back(*std::move(layer));
  }
  if (!object.ok()) return invalid("\"layers\" is not a list of objects");
  return manifest;
}

Result<std::vector<Descriptor>> parse_index(std::string_view json) {
  auto parsed = images::parse_json(json, "invalid manifest");
  if (!parsed) return std::move(parsed).error();
  images::JsonObject object(*parsed);
  if (object.find("layers") || object.find("config"))
    return invalid("an index must not have \"layers\" or \"config\"");
  std::vector<Descriptor> entries;
  for (const nlohmann::json* item : object.objects("manifests")) {
    if (entries.size() >= kMaxEntries) return invalid("too many manifests");
    if (!item->is_object()) break;
    auto entry = parse_descriptor(*item);
    if (!entry) return std::move(entry).error();
    entries.push_back(*std::move(entry));
  }
  if (!object.ok()) return invalid("\"manifests\" is not a list of objects");
  return entries;
}

bool matches(const Platform& offered, const Platform& wanted) {
  Platform platform = offered;
  normalize(platform);
  return platform.os == wanted.os && platform.architecture == wanted.architecture &&
         (wanted.variant.empty() || platform.variant == wanted.variant);
}

Result<Descriptor> choose_platform(const std::vector<Descriptor>& entries,
                                   const Platform& platform) {
  const Descriptor* best = nullptr;
  for (const Descriptor& entry : entries) {
    const bool is_manifest =
        is_one_of(entry.media_type, {media::kDockerManifest, media::kOciManifest});
    if (!is_manifest || !entry.platform || !matches(*entry.platform, platform)) continue;
    // The wanted variant is best; among equals the first in the list is taken.
    const bool exact = entry.platform->variant == platform.variant;
    if (!best || (exact && best->platform->variant != platform.variant)) best = &entry;
  }
  if (best) return *best;
  return Error{Code::kNotFound,
               "no matching manifest for " + platform.text() + " in the manifest list entries"};
}

}  // namespace registry
