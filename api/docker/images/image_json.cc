#include "api/docker/images/image_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "api/engine/state/timestamp.h"
#include "images/store/values/timestamp.h"

namespace docker {

using http::ApiVersion;
using nlohmann::json;

namespace {

constexpr ApiVersion kWithoutPlaceholders{1, 43};  // untagged images have empty lists
constexpr ApiVersion kWithoutVirtualSize{1, 44};
constexpr ApiVersion kWithoutContainerConfig{1, 45};
constexpr ApiVersion kWithoutRunFields{1, 50};  // Config has only what images define

json list_or_null(const std::vector<std::string>& items) {
  return items.empty() ? json() : json(items);
}

bool is_empty(const json& value) {
  return value.is_null() || value == "" || value == false ||
         (value.is_structured() && value.empty());
}

/// What is shown of a configuration even if it says nothing.
json empty_config(ApiVersion version) {
  json config = {{"Cmd", nullptr},     {"Entrypoint", nullptr}, {"Env", nullptr},
                 {"Labels", nullptr},  {"OnBuild", nullptr},    {"User", ""},
                 {"Volumes", nullptr}, {"WorkingDir", ""}};
  if (version < kWithoutRunFields)
    config.update({{"Hostname", ""},
                   {"Domainname", ""},
                   {"AttachStdin", false},
                   {"AttachStdout", false},
                   {"AttachStderr", false},
                   {"Tty", false},
                   {"OpenStdin", false},
                   {"StdinOnce", false},
                   {"Image", ""}});
  return config;
}

/// What the image gives to containers: the fields that images have, those of them that say
/// something.
json config_json(const json& image, ApiVersion version) {
  json config = empty_config(version);
  const auto found = image.find("config");
  if (found == image.end() || !found->is_object()) return config;
  for (const char* field :
       {"User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels",
        "StopSignal", "ArgsEscaped", "Healthcheck", "OnBuild", "Shell"}) {
    const auto value = found->find(field);
    if (value != found->end() && !is_empty(*value)) config[field] = *value;
  }
  return config;
}

/// The configuration of the container that the image was made of, whole.
json container_config_json(const json& image, ApiVersion version) {
  json config = empty_config(version);
  const auto found = image.find("container_config");
  if (found != image.end() && found->is_object()) config.update(*found);
  return config;
}

std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::string created_text(const std::string& created) {
  return created.empty() ? engine::format_time(0) : created;
}

std::int64_t seconds_of(const std::string& created) {
  return images::parse_timestamp(created).value_or(0) / 1'000'000'000;
}

}  // namespace

json image_summary_json(const images::ImageSummary& image, ApiVersion version) {
  json tags = image.repo_tags;
  json digests = image.repo_digests;
  if (version < kWithoutPlaceholders && tags.empty() && digests.empty()) {
    tags = {"<none>:<none>"};
    digests = {"<none>@<none>"};
  }
  json row = {{"Id", image.id},
              {"ParentId", image.parent},
              {"RepoTags", tags},
              {"RepoDigests", digests},
              {"Created", image.created_seconds},
              {"Size", image.size},
              {"SharedSize", -1},
              {"Containers", -1},
              {"Labels", image.labels.empty() ? json() : json(image.labels)}};
  if (version < kWithoutVirtualSize) row["VirtualSize"] = image.size;
  return row;
}

json image_inspect_json(const images::Image& image, ApiVersion version) {
  const json raw = json::parse(image.config_json, nullptr, false);
  json layers = json::array();
  for (const images::LayerFile& layer : image.layers) layers.push_back(layer.diff_id);
  json object = {{"Id", image.id},
                 {"RepoTags", image.repo_tags},
                 {"RepoDigests", image.repo_digests},
                 {"Parent", image.parent},
                 {"Comment", text_of(raw, "comment")},
                 {"Created", created_text(image.config.created)},
                 {"DockerVersion", text_of(raw, "docker_version")},
                 {"Author", image.config.author},
                 {"Config", config_json(raw, version)},
                 {"Architecture", image.config.architecture},
                 {"Os", image.config.os},
                 {"Size", image.size},
                 {"GraphDriver", {{"Name", "erofs"}, {"Data", nullptr}}},
                 {"RootFS", {{"Type", "layers"}, {"Layers", layers}}},
                 {"Metadata", {{"LastTagTime", engine::format_time(image.last_tagged_ns)}}}};
  if (!image.config.variant.empty()) object["Variant"] = image.config.variant;
  if (version < kWithoutVirtualSize) object["VirtualSize"] = image.size;
  if (version < kWithoutContainerConfig) {
    object["Container"] = text_of(raw, "container");
    object["ContainerConfig"] = container_config_json(raw, version);
  }
  return object;
}

json image_history_json(const images::Image& image) {
  json rows = json::array();
  std::size_t layer = 0;
  for (const images::HistoryEntry& entry : image.config.history) {
    const bool has_layer = !entry.empty_layer && layer < image.layers.size();
    rows.push_back({{"Id", "<missing>"},
                    {"Created", seconds_of(entry.created)},
                    {"CreatedBy", entry.created_by},
                    {"Tags", nullptr},
                    {"Size", has_layer ? image.layers[layer].content_bytes : 0},
                    {"Comment", entry.comment}});
    if (has_layer) ++layer;
  }
  std::reverse(rows.begin(), rows.end());
  if (!rows.empty()) {
    rows.front()["Id"] = image.id;
    rows.front()["Tags"] = list_or_null(image.repo_tags);
  }
  return rows;
}

json removed_json(const std::vector<images::RemovedItem>& removed) {
  json items = json::array();
  for (const images::RemovedItem& item : removed) {
    const bool untagged = item.kind == images::RemovedItem::Kind::kUntagged;
    items.push_back({{untagged ? "Untagged" : "Deleted", item.name}});
  }
  return items;
}

}  // namespace docker
