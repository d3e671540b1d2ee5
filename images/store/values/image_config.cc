#include "images/store/values/image_config.h"

#include "images/store/values/json.h"
#include "images/store/values/reference.h"

namespace images {

namespace {

base::Error invalid(std::string_view why) {
  return {base::Code::kInvalidArgument, "invalid image configuration: " + std::string(why)};
}

bool parse_healthcheck(const nlohmann::json& json, Healthcheck& check) {
  JsonObject object(json);
  check.test = object.texts("Test");
  check.interval = std::chrono::nanoseconds(object.integer("Interval"));
  check.timeout = std::chrono::nanoseconds(object.integer("Timeout"));
  check.start_period = std::chrono::nanoseconds(object.integer("StartPeriod"));
  check.start_interval = std::chrono::nanoseconds(object.integer("StartInterval"));
  check.retries = object.integer("Retries");
  return object.ok();
}

bool parse_defaults(const nlohmann::json& json, ContainerDefaults& defaults) {
  JsonObject object(json);
  defaults.user = object.text("User");
  defaults.env = object.texts("Env");
  defaults.entrypoint = object.texts("Entrypoint");
  defaults.cmd = object.texts("Cmd");
  defaults.shell = object.texts("Shell");
  defaults.on_build = object.texts("OnBuild");
  defaults.working_dir = object.text("WorkingDir");
  defaults.stop_signal = object.text("StopSignal");
  if (object.find("StopTimeout")) defaults.stop_timeout_seconds = object.integer("StopTimeout");
  defaults.exposed_ports = object.keys("ExposedPorts");
  defaults.volumes = object.keys("Volumes");
  defaults.labels = object.text_map("Labels");
  if (const nlohmann::json* check = object.find("Healthcheck"))
    if (!parse_healthcheck(*check, defaults.healthcheck.emplace())) return false;
  return object.ok();
}

bool parse_history(JsonObject& image, std::vector<HistoryEntry>& history) {
  for (const nlohmann::json* item : image.objects("history")) {
    JsonObject object(*item);
    history.push_back({.created = object.text("created"),
                       .created_by = object.text("created_by"),
                       .author = object.text("author"),
                       .comment = object.text("comment"),
                       .empty_layer = object.boolean("empty_layer")});
    if (!object.ok()) return false;
  }
  return true;
}

base::Result<void> parse_layers(JsonObject& image, ImageConfig& config) {
  const nlohmann::json* json = image.find("rootfs");
  if (!json) return invalid("it has no \"rootfs\"");
  JsonObject rootfs(*json);
  config.diff_ids = rootfs.texts("diff_ids");
  if (!rootfs.ok() || rootfs.text("type") != "layers")
    return invalid("\"rootfs\" is not of type \"layers\" with a list of diff_ids");
  if (config.diff_ids.size() > kMaxLayers)
    return base::Error{base::Code::kNotSupported, "max depth exceeded: an image has at most " +
                                                      std::to_string(kMaxLayers) + " layers"};
  for (const std::string& diff_id : config.diff_ids)
    if (!is_sha256_digest(diff_id)) return invalid("invalid checksum digest format");
  return {};
}

}  // namespace

base::Result<ImageConfig> parse_image_config(std::string_view json) {
  auto parsed = parse_json(json, "invalid image configuration");
  if (!parsed) return std::move(parsed).error();
  JsonObject image(*parsed);
  ImageConfig config;
  config.architecture = image.text("architecture");
  config.variant = image.text("variant");
  config.os = image.text("os");
  config.created = image.text("created");
  config.author = image.text("author");
  if (const nlohmann::json* defaults = image.find("config"))
    if (!parse_defaults(*defaults, config.defaults))
      return invalid("a field of \"config\" has the wrong type");
  if (!parse_history(image, config.history))
    return invalid("a field of \"history\" has the wrong type");
  RETURN_IF_ERROR(parse_layers(image, config));
  if (!image.ok()) return invalid("a field has the wrong type");
  return config;
}

std::string_view host_architecture() {
#if defined(__x86_64__)
  return "amd64";
#elif defined(__aarch64__)
  return "arm64";
#else
#error "name this architecture as Go does"
#endif
}

base::Result<void> check_platform(std::string_view os, std::string_view architecture) {
  if ((os.empty() || os == "linux") &&
      (architecture.empty() || architecture == host_architecture()))
    return {};
  std::string image = std::string(os.empty() ? "linux" : os) + "/" + std::string(architecture);
  return base::Error{base::Code::kNotSupported, "image platform (" + image +
                                                    ") does not match this host (linux/" +
                                                    std::string(host_architecture()) + ")"};
}

}  // namespace images
