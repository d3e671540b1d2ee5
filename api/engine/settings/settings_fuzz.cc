// Client-controlled text: the body of a create request, and what follows from it.
#include <cstdint>
#include <string_view>

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
  settings = engine::settings_with_defaults(*settings, image, "host");
  if (!settings) return 0;
  if (settings->process.argv.empty()) __builtin_trap();
  if (settings->health.check && settings->health.check->command.empty()) __builtin_trap();
  const engine::LogSubject subject{.id = std::string(64, 'a'),
                                   .name = "web",
                                   .image_id = "sha256:1",
                                   .image_name = settings->image,
                                   .command = settings->process.argv,
                                   .env = settings->process.env,
                                   .labels = {}};
  [[maybe_unused]] const auto log = engine::log_settings_for(settings->log, subject);
  return 0;
}
