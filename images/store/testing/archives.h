// Image archives for tests.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "images/store/streams/digest.h"
#include "images/store/testing/tar_builder.h"

namespace images::testing {

inline nlohmann::json config_for(const std::vector<std::string>& diff_ids) {
  return {{"architecture", "amd64"},
          {"os", "linux"},
          {"created", "2024-05-06T07:08:09Z"},
          {"config", {{"Cmd", {"/bin/sh"}}, {"Env", {"PATH=/bin"}}}},
          {"rootfs", {{"type", "layers"}, {"diff_ids", diff_ids}}}};
}

struct ImageParts {
  std::vector<std::string> layers;  // tar streams, or what pretends to be one
  std::vector<std::string> tags;
  nlohmann::json config;  // null: made for the layers
};

inline std::string config_text(const ImageParts& parts) {
  if (!parts.config.is_null()) return parts.config.dump();
  std::vector<std::string> diff_ids;
  for (const std::string& layer : parts.layers) diff_ids.push_back(digest_of(layer));
  return config_for(diff_ids).dump();
}

/// What `docker save` writes, in the older form.
inline std::string docker_archive(const std::vector<ImageParts>& images) {
  TarBuilder tar;
  nlohmann::json manifest = nlohmann::json::array();
  for (std::size_t i = 0; i < images.size(); ++i) {
    const std::string config = config_text(images[i]);
    const std::string config_name = digest_of(config).substr(7) + ".json";
    nlohmann::json layers = nlohmann::json::array();
    for (std::size_t j = 0; j < images[i].layers.size(); ++j) {
      const std::string name = std::to_string(i) + "-" + std::to_string(j) + "/layer.tar";
      tar.file(name, images[i].layers[j]);
      layers.push_back(name);
    }
    tar.file(config_name, config);
    manifest.push_back({{"Config", config_name}, {"RepoTags", images[i].tags}, {"Layers", layers}});
  }
  tar.file("manifest.json", manifest.dump());
  return tar.finish();
}

/// A descriptor of `blob`, which is added to `tar`.
inline nlohmann::json add_blob(TarBuilder& tar, const std::string& media_type,
                               const std::string& blob) {
  const std::string digest = digest_of(blob);
  tar.file("blobs/sha256/" + digest.substr(7), blob);
  return {{"mediaType", media_type}, {"digest", digest}, {"size", blob.size()}};
}

/// The descriptor of an OCI image manifest whose blobs are added to `tar`.
inline nlohmann::json add_oci_image(TarBuilder& tar, const ImageParts& parts) {
  nlohmann::json layers = nlohmann::json::array();
  for (const std::string& layer : parts.layers)
    layers.push_back(add_blob(tar, "application/vnd.oci.image.layer.v1.tar", layer));
  const nlohmann::json manifest = {
      {"schemaVersion", 2},
      {"config", add_blob(tar, "application/vnd.oci.image.config.v1+json", config_text(parts))},
      {"layers", layers}};
  return add_blob(tar, "application/vnd.oci.image.manifest.v1+json", manifest.dump());
}

}  // namespace images::testing
