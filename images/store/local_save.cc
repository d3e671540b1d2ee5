// Save: a docker-archive that is an OCI layout too, as current Docker writes it. Layers come out
// byte for byte as they came in (tar_recipe.h); digests are checked on the way.

#include <fcntl.h>

#include <nlohmann/json.hpp>

#include "images/store/local_store.h"
#include "images/store/streams/digest.h"
#include "images/store/streams/tar_recipe.h"
#include "images/store/streams/tar_writer.h"
#include "vmm/base/unique_fd.h"

namespace images {

namespace {

using nlohmann::json;

struct SavedImage {
  std::string id;
  std::string config_json;
  std::vector<LayerRow> layers;
  std::vector<Reference> tags;
};

std::string blob_name(std::string_view digest) {
  return "blobs/sha256/" + std::string(digest.substr(digest.find(':') + 1));
}

class MemberSink : public ByteSink {
 public:
  explicit MemberSink(TarWriter& tar) : tar_(tar) {}
  base::Result<void> write(std::span<const std::byte> bytes) override { return tar_.write(bytes); }

 private:
  TarWriter& tar_;
};

class HashingSink : public ByteSink {
 public:
  explicit HashingSink(ByteSink& sink) : sink_(sink) {}
  base::Result<void> write(std::span<const std::byte> bytes) override {
    hash_.update(bytes);
    return sink_.write(bytes);
  }
  std::string digest() { return to_digest_string(hash_.finish()); }

 private:
  ByteSink& sink_;
  Sha256 hash_;
};

using WriteLayer = std::function<base::Result<void>(const LayerRow&, ByteSink&)>;

base::Result<void> save_layer(const LayerRow& layer, const WriteLayer& write, TarWriter& tar) {
  RETURN_IF_ERROR(tar.begin(blob_name(layer.diff_id), layer.tar_bytes));
  MemberSink sink(tar);
  return write(layer, sink);
}

std::string oci_manifest(const SavedImage& image) {
  json layers = json::array();
  for (const LayerRow& layer : image.layers)
    layers.push_back({{"mediaType", "application/vnd.oci.image.layer.v1.tar"},
                      {"digest", layer.diff_id},
                      {"size", layer.tar_bytes}});
  return json({{"schemaVersion", 2},
               {"mediaType", "application/vnd.oci.image.manifest.v1+json"},
               {"config",
                {{"mediaType", "application/vnd.oci.image.config.v1+json"},
                 {"digest", image.id},
                 {"size", image.config_json.size()}}},
               {"layers", std::move(layers)}})
      .dump();
}

json index_entry(const std::string& manifest) {
  return {{"mediaType", "application/vnd.oci.image.manifest.v1+json"},
          {"digest", digest_of(manifest)},
          {"size", manifest.size()}};
}

json docker_entry(const SavedImage& image) {
  json layers = json::array();
  for (const LayerRow& layer : image.layers) layers.push_back(blob_name(layer.diff_id));
  json tags;  // null without tags
  for (const Reference& tag : image.tags) tags.push_back(tag.familiar());
  return {{"Config", blob_name(image.id)}, {"RepoTags", tags}, {"Layers", std::move(layers)}};
}

base::Result<void> save_images(const std::vector<SavedImage>& saved, const WriteLayer& write,
                               TarWriter& tar) {
  json docker = json::array();
  json index = json::array();
  std::set<std::string> written;
  for (const SavedImage& image : saved) {
    for (const LayerRow& layer : image.layers)
      if (written.insert(layer.diff_id).second) RETURN_IF_ERROR(save_layer(layer, write, tar));
    const std::string manifest = oci_manifest(image);
    RETURN_IF_ERROR(tar.add(blob_name(image.id), image.config_json));
    RETURN_IF_ERROR(tar.add(blob_name(digest_of(manifest)), manifest));
    docker.push_back(docker_entry(image));
    if (image.tags.empty()) index.push_back(index_entry(manifest));
    for (const Reference& tag : image.tags) {
      index.push_back(index_entry(manifest));
      index.back()["annotations"] = {
          {"io.containerd.image.name", tag.repository() + ":" + tag.tag()},
          {"org.opencontainers.image.ref.name", tag.tag()}};
    }
  }
  RETURN_IF_ERROR(
      tar.add("index.json", json({{"schemaVersion", 2},
                                  {"mediaType", "application/vnd.oci.image.index.v1+json"},
                                  {"manifests", std::move(index)}})
                                .dump()));
  RETURN_IF_ERROR(tar.add("manifest.json", docker.dump()));
  RETURN_IF_ERROR(tar.add("oci-layout", R"({"imageLayoutVersion":"1.0.0"})"));
  return tar.finish();
}

void add_tag(std::vector<Reference>& tags, const Reference& tag) {
  for (const Reference& known : tags)
    if (known.familiar() == tag.familiar()) return;
  tags.push_back(tag);
}

}  // namespace

base::Result<void> LocalStore::write_tar(const LayerRow& layer, ByteSink& sink) const {
  const base::UniqueFd image(
      ::open(files_.image_path(layer.diff_id).c_str(), O_RDONLY | O_CLOEXEC));
  const base::UniqueFd recipe(
      ::open(files_.recipe_path(layer.diff_id).c_str(), O_RDONLY | O_CLOEXEC));
  if (!image || !recipe) return base::errno_error("open layer " + layer.diff_id);
  HashingSink hashing(sink);
  RETURN_IF_ERROR(
      rebuild_tar(recipe.get(), image.get(), layer.image_bytes, layer.tar_bytes, hashing));
  if (hashing.digest() != layer.diff_id)
    return base::Error{base::Code::kDataLoss, "layer " + layer.diff_id + " is damaged"};
  return {};
}

base::Result<void> LocalStore::save(const std::vector<std::string>& names, ByteSink& sink) {
  std::vector<SavedImage> saved;
  Pins pins(*this);
  {
    const std::lock_guard lock(mutex_);
    for (const std::string& name : names) {
      auto id = resolve_id_locked(name);
      if (!id) return std::move(id).error();
      auto known = std::find_if(saved.begin(), saved.end(),
                                [&](const SavedImage& image) { return image.id == *id; });
      if (known == saved.end()) {
        auto image = catalog_.find_image(*id);
        if (!image) return std::move(image).error();
        if (!*image) return no_such_image(name);
        auto layers = catalog_.layers_of_image(*id);
        if (!layers) return std::move(layers).error();
        for (const LayerRow& layer : *layers) pins.add_locked(layer.diff_id);
        saved.push_back({*id, (*image)->config_json, *std::move(layers), {}});
        known = saved.end() - 1;
      }
      // A name, unlike an ID, comes out as a tag again.
      auto reference = Reference::parse(name);
      if (!reference || !reference->digest().empty()) continue;
      auto tagged = catalog_.find_reference(reference->with_default_tag());
      if (!tagged) return std::move(tagged).error();
      if (*tagged) add_tag(known->tags, reference->with_default_tag());
    }
  }
  TarWriter tar(sink);
  const WriteLayer write = [this](const LayerRow& layer, ByteSink& out) {
    return write_tar(layer, out);
  };
  return save_images(saved, write, tar);
}

}  // namespace images
