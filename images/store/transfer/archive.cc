#include "images/store/transfer/archive.h"

#include <algorithm>

#include "images/store/streams/byte_source.h"
#include "images/store/streams/digest.h"
#include "images/store/streams/tar_reader.h"
#include "images/store/values/json.h"

namespace images {

namespace {

constexpr int kMaxLinksFollowed = 8;
constexpr std::size_t kMaxImages = 1000;
constexpr std::size_t kMaxConfigsBytes = 64u << 20;  // of all images of one archive

base::Error invalid(std::string_view why) {
  return {base::Code::kInvalidArgument, "invalid archive: " + std::string(why)};
}

/// "./a//b/../c" -> "a/c"; what leads out of the archive stays inside by losing its "..".
std::string clean_name(std::string_view name) {
  std::vector<std::string_view> parts;
  while (!name.empty()) {
    const std::size_t slash = std::min(name.find('/'), name.size());
    const std::string_view part = name.substr(0, slash);
    if (part == ".." && !parts.empty()) {
      parts.pop_back();
    } else if (!part.empty() && part != "." && part != "..") {
      parts.push_back(part);
    }
    name.remove_prefix(std::min(slash + 1, name.size()));
  }
  std::string cleaned;
  for (const std::string_view part : parts) {
    if (!cleaned.empty()) cleaned += '/';
    cleaned += part;
  }
  return cleaned;
}

std::string link_target(const TarEntry& entry) {
  if (entry.type == TarEntry::Type::kHardLink) return clean_name(entry.link_name);
  const std::size_t slash = entry.name.rfind('/');
  const std::string directory = slash == std::string::npos ? "" : entry.name.substr(0, slash + 1);
  return clean_name(entry.link_name.starts_with('/') ? entry.link_name
                                                     : directory + entry.link_name);
}

}  // namespace

base::Result<Archive> Archive::open(FileRange spool) {
  Archive archive;
  RangeSource source(spool.fd, spool.offset, spool.length);
  TarReader reader(source);
  std::size_t name_bytes = 0;
  while (true) {
    auto entry = reader.next();
    if (!entry) return std::move(entry).error();
    if (!*entry) break;
    const TarEntry& found = **entry;
    Member member;
    if (found.type == TarEntry::Type::kRegular && !found.sparse) {
      member.range = {spool.fd, spool.offset + reader.position(), found.stored_size};
    } else if (found.type == TarEntry::Type::kSymlink || found.type == TarEntry::Type::kHardLink) {
      member.link = link_target(found);
    } else {
      continue;
    }
    const std::string name = clean_name(found.name);
    name_bytes += name.size() + member.link.size();
    if (archive.members_.size() >= kMaxMembers || name_bytes > kMaxNameBytes)
      return base::Error{base::Code::kResourceExhausted, "the archive has too many members"};
    archive.members_[name] = std::move(member);
  }
  return archive;
}

base::Result<FileRange> Archive::find(std::string_view name) const {
  std::string current = clean_name(name);
  for (int links = 0; links <= kMaxLinksFollowed; ++links) {
    const auto found = members_.find(current);
    if (found == members_.end()) return invalid("\"" + current + "\" is missing");
    if (found->second.link.empty()) return found->second.range;
    current = found->second.link;
  }
  return invalid("\"" + current + "\": too many links");
}

base::Result<std::string> Archive::read(std::string_view name) const {
  auto range = find(name);
  if (!range) return std::move(range).error();
  if (range->length > kMaxConfigBytes) return invalid("\"" + std::string(name) + "\" is too large");
  std::string text(range->length, '\0');
  RangeSource source(range->fd, range->offset, range->length);
  auto got = read_fully(source, std::as_writable_bytes(std::span(text)));
  if (!got) return std::move(got).error();
  if (*got != text.size()) return base::Error{base::Code::kDataLoss, "unexpected EOF"};
  return text;
}

namespace {

base::Result<void> take_config(std::string json, PlannedImage& image) {
  auto config = parse_image_config(json);
  if (!config) return std::move(config).error();
  RETURN_IF_ERROR(check_platform(config->os, config->architecture));
  if (config->diff_ids.size() != image.layers.size())
    return invalid("layers length mismatch: expected " + std::to_string(config->diff_ids.size()) +
                   ", got " + std::to_string(image.layers.size()));
  image.config = *std::move(config);
  image.config_json = std::move(json);
  return {};
}

base::Result<void> check_room(const std::vector<PlannedImage>& images) {
  std::size_t bytes = 0;
  for (const PlannedImage& image : images) bytes += image.config_json.size();
  if (images.size() > kMaxImages || bytes > kMaxConfigsBytes)
    return base::Error{base::Code::kResourceExhausted, "the archive has too many images"};
  return {};
}

base::Result<Reference> parse_tag(std::string_view text) {
  auto reference = Reference::parse(text);
  if (!reference) return base::annotate(std::move(reference), "\"" + std::string(text) + "\"");
  if (!reference->digest().empty() || reference->tag().empty())
    return base::Error{base::Code::kInvalidArgument, "invalid tag \"" + std::string(text) + "\""};
  return reference;
}

base::Result<PlannedImage> plan_docker_image(const Archive& archive, const nlohmann::json& json) {
  JsonObject entry(json);
  PlannedImage image;
  for (const std::string& name : entry.texts("Layers")) {
    if (image.layers.size() >= kMaxLayers) return invalid("max depth exceeded");
    auto blob = archive.find(name);
    if (!blob) return std::move(blob).error();
    image.layers.push_back({.blob = *blob, .blob_digest = {}});
  }
  for (const std::string& text : entry.texts("RepoTags")) {
    auto tag = parse_tag(text);
    if (!tag) return std::move(tag).error();
    image.tags.push_back(*std::move(tag));
  }
  const std::string config_name = entry.text("Config");
  if (!entry.ok()) return invalid("a field of manifest.json has the wrong type");
  auto config = archive.read(config_name);
  if (!config) return std::move(config).error();
  RETURN_IF_ERROR(take_config(*std::move(config), image));
  return image;
}

base::Result<std::vector<PlannedImage>> plan_docker_archive(const Archive& archive) {
  auto text = archive.read("manifest.json");
  if (!text) return std::move(text).error();
  auto manifest = parse_json(*text, "invalid archive: manifest.json");
  if (!manifest) return std::move(manifest).error();
  if (!manifest->is_array()) return invalid("manifest.json is not a list");
  std::vector<PlannedImage> images;
  for (const nlohmann::json& entry : *manifest) {
    auto image = plan_docker_image(archive, entry);
    if (!image) return std::move(image).error();
    images.push_back(*std::move(image));
    RETURN_IF_ERROR(check_room(images));
  }
  return images;
}

struct Descriptor {
  std::string media_type;
  std::string digest;
  std::int64_t size = 0;
  std::string os;  // of its platform, if it has one
  std::string architecture;
  std::map<std::string, std::string> annotations;

  bool has_platform() const { return !os.empty() || !architecture.empty(); }
  bool is_index() const {
    return media_type == "application/vnd.oci.image.index.v1+json" ||
           media_type == "application/vnd.docker.distribution.manifest.list.v2+json";
  }
  std::string blob_name() const { return "blobs/sha256/" + digest.substr(7); }
};

base::Result<Descriptor> parse_descriptor(const nlohmann::json& json) {
  JsonObject object(json);
  Descriptor descriptor{.media_type = object.text("mediaType"),
                        .digest = object.text("digest"),
                        .size = object.integer("size"),
                        .os = {},
                        .architecture = {},
                        .annotations = object.text_map("annotations")};
  if (const nlohmann::json* platform = object.find("platform")) {
    JsonObject fields(*platform);
    descriptor.os = fields.text("os");
    descriptor.architecture = fields.text("architecture");
    if (!fields.ok()) return invalid("a field of a platform is not a string");
  }
  if (!object.ok() || !is_sha256_digest(descriptor.digest))
    return invalid("a descriptor has no sha256 digest, or a field of the wrong type");
  return descriptor;
}

/// A JSON blob that a descriptor names, its size and digest verified.
base::Result<std::string> read_verified(const Archive& archive, const Descriptor& descriptor) {
  auto text = archive.read(descriptor.blob_name());
  if (!text) return text;
  if (static_cast<std::uint64_t>(descriptor.size) != text->size() ||
      digest_of(*text) != descriptor.digest)
    return base::Error{base::Code::kDataLoss,
                       descriptor.digest + ": the blob's digest or size does not match"};
  return text;
}

base::Result<std::vector<Descriptor>> parse_manifests(std::string_view text) {
  auto json = parse_json(text, "invalid archive: index");
  if (!json) return std::move(json).error();
  JsonObject index(*json);
  std::vector<Descriptor> descriptors;
  for (const nlohmann::json* item : index.objects("manifests")) {
    auto descriptor = parse_descriptor(*item);
    if (!descriptor) return std::move(descriptor).error();
    descriptors.push_back(*std::move(descriptor));
    if (descriptors.size() > kMaxImages) return invalid("too many manifests");
  }
  if (!index.ok()) return invalid("\"manifests\" of an index is not a list of objects");
  return descriptors;
}

/// The image manifest that `descriptor` leads to on this host.
base::Result<Descriptor> choose_platform(const Archive& archive, Descriptor descriptor) {
  for (int depth = 0; descriptor.is_index(); ++depth) {
    if (depth > 4) return invalid("indexes are nested too deeply");
    auto text = read_verified(archive, descriptor);
    if (!text) return std::move(text).error();
    auto offered = parse_manifests(*text);
    if (!offered) return std::move(offered).error();
    const auto fits = std::find_if(offered->begin(), offered->end(), [](const Descriptor& d) {
      return d.is_index() || !d.has_platform() || check_platform(d.os, d.architecture).has_value();
    });
    if (fits == offered->end())
      return base::Error{base::Code::kNotSupported, "no matching manifest for linux/" +
                                                        std::string(host_architecture()) +
                                                        " in the manifest list entries"};
    fits->annotations.insert(descriptor.annotations.begin(), descriptor.annotations.end());
    descriptor = *std::move(fits);
  }
  return descriptor;
}

/// The name that the layout gives an image, if it is one that can be a tag.
std::vector<Reference> tags_from(const std::map<std::string, std::string>& annotations) {
  for (const char* key : {"io.containerd.image.name", "org.opencontainers.image.ref.name"}) {
    const auto found = annotations.find(key);
    if (found == annotations.end()) continue;
    // A bare "1.2" or "latest" is a tag without a repository: it names nothing here.
    const bool bare = std::string_view(key) == "org.opencontainers.image.ref.name" &&
                      found->second.find_first_of(":/") == std::string::npos;
    if (auto tag = parse_tag(found->second); tag && !bare) return {*std::move(tag)};
  }
  return {};
}

base::Result<PlannedImage> plan_oci_image(const Archive& archive, Descriptor top) {
  auto chosen = choose_platform(archive, std::move(top));
  if (!chosen) return std::move(chosen).error();
  auto text = read_verified(archive, *chosen);
  if (!text) return std::move(text).error();
  auto json = parse_json(*text, "invalid archive: manifest");
  if (!json) return std::move(json).error();
  JsonObject manifest(*json);
  PlannedImage image;
  for (const nlohmann::json* item : manifest.objects("layers")) {
    if (image.layers.size() >= kMaxLayers) return invalid("max depth exceeded");
    auto layer = parse_descriptor(*item);
    if (!layer) return std::move(layer).error();
    auto blob = archive.find(layer->blob_name());
    if (!blob) return std::move(blob).error();
    if (blob->length != static_cast<std::uint64_t>(layer->size))
      return base::Error{base::Code::kDataLoss, layer->digest + ": the blob's size does not match"};
    image.layers.push_back({.blob = *blob, .blob_digest = layer->digest});
  }
  const nlohmann::json* config_json = manifest.find("config");
  if (!manifest.ok() || !config_json)
    return invalid("a manifest has no \"config\", or \"layers\" is not a list of objects");
  auto descriptor = parse_descriptor(*config_json);
  if (!descriptor) return std::move(descriptor).error();
  auto config = read_verified(archive, *descriptor);
  if (!config) return std::move(config).error();
  RETURN_IF_ERROR(take_config(*std::move(config), image));
  image.tags = tags_from(chosen->annotations);
  return image;
}

base::Result<std::vector<PlannedImage>> plan_oci_layout(const Archive& archive) {
  auto text = archive.read("index.json");
  if (!text) return std::move(text).error();
  auto descriptors = parse_manifests(*text);
  if (!descriptors) return std::move(descriptors).error();
  std::vector<PlannedImage> images;
  for (Descriptor& descriptor : *descriptors) {
    auto image = plan_oci_image(archive, std::move(descriptor));
    if (!image) return std::move(image).error();
    images.push_back(*std::move(image));
    RETURN_IF_ERROR(check_room(images));
  }
  return images;
}

}  // namespace

base::Result<std::vector<PlannedImage>> plan_images(const Archive& archive) {
  if (archive.contains("manifest.json")) return plan_docker_archive(archive);
  if (archive.contains("index.json")) return plan_oci_layout(archive);
  return invalid("it has neither a manifest.json nor an index.json");
}

}  // namespace images
