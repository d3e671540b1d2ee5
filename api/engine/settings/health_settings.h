// Config.Healthcheck: what a client asked for, what its image gives, and the check that comes of
// both.
//
// Trust: the request comes from the client, the image's check from whoever made the image.
// Errors: kInvalidArgument in Docker's words.
// Spec: Docker Engine API 1.51, HealthConfig.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "api/engine/health/health.h"
#include "images/store/values/image_config.h"
#include "vmm/base/result.h"

namespace engine {

/// Brings a request's Healthcheck into the form that is kept and shown: the fields that say
/// something, under Docker's names. null stays null.
base::Result<void> normalise_health(nlohmann::json& health);

/// Gives each field that the client left out the image's value.
void merge_health(nlohmann::json& health, const images::Healthcheck& image);

struct HealthSettings {
  /// Absent for none: not asked for, disabled (NONE), or of a kind that Docker does not know.
  std::optional<HealthCheck> check;
  /// A sentence for the client when the kind of the check is not known, as Docker logs it.
  std::optional<std::string> warning;
};

/// Reads and checks the health check. `config` has every field of config_fields(), with a
/// normalised Healthcheck.
base::Result<HealthSettings> parse_health(const nlohmann::json& config);

}  // namespace engine
