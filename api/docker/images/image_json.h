// Images as the API shows them.
// Spec: Docker Engine API 1.51, ImageSummary, ImageInspect, HistoryResponseItem; older fields are
// added for the versions that have them.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "api/http/target.h"
#include "images/store/store.h"

namespace docker {

nlohmann::json image_summary_json(const images::ImageSummary& image, http::ApiVersion version);
nlohmann::json image_inspect_json(const images::Image& image, http::ApiVersion version);
/// Newest entry first.
nlohmann::json image_history_json(const images::Image& image);
/// [{"Untagged": ...}, {"Deleted": ...}]
nlohmann::json removed_json(const std::vector<images::RemovedItem>& removed);

}  // namespace docker
