// Client-controlled text: the body of a create request, and what follows from it.
#include <cstdint>
#include <string_view>

#include "api/engine/settings/health_settings.h"
#include "api/engine/settings/log_settings.h"
#include "api/engine/settings/settings.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto body = nlohmann::json::parse(text, nullptr, false);
  if (body.is_discarded()) return 0;
  auto settings = engine::parse_settings(body);
  if (!settings) return 0;
  images::ContainerDefaults image;
  image.cmd = {"true"};
  image.healthcheck = images::Healthcheck{};
  if (!engine::apply_image_defaults(*settings, image)) return 0;
  // What was accepted can be asked everything without an exception.
  if (settings->command_line().empty()) __builtin_trap();
  [[maybe_unused]] const auto policy = settings->restart_policy();
  [[maybe_unused]] const auto timeout = settings->stop_timeout();
  [[maybe_unused]] const auto disk = settings->disk_bytes();
  [[maybe_unused]] const auto warning = engine::health_warning(settings->config);
  if (const auto check = engine::health_check_of(settings->config); check && check->command.empty())
    __builtin_trap();
  const engine::LogSubject subject{.id = std::string(64, 'a'),
                                   .name = "web",
                                   .image_id = "sha256:1",
                                   .image_name = settings->image(),
                                   .command = settings->command_line(),
                                   .env = settings->strings("Env"),
                                   .labels = {}};
  [[maybe_unused]] const auto log =
      engine::log_settings_for(settings->host_config.at("LogConfig"), subject);
  return 0;
}
