#include "api/docker/build/build_query.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "api/engine/settings/settings.h"
#include "api/http/message.h"
#include "images/store/values/reference.h"

namespace docker::build {

using base::Code;
using base::Error;
using base::Result;
using engine::build::BuildOptions;
using nlohmann::json;

namespace {

Error wrong(std::string message) { return {Code::kInvalidArgument, std::move(message)}; }

/// A parameter that is JSON; null if it is not there.
Result<json> json_parameter(const http::Query& query, const char* name, const char* what) {
  const std::string text = query.get_or(name, "");
  if (text.empty()) return json();
  auto value = http::parse_json(text);
  if (!value) return base::annotate(std::move(value), std::string("error reading ") + what);
  return value;
}

Result<void> take_arguments(const http::Query& query, BuildOptions& options) {
  const auto value = json_parameter(query, "buildargs", "build args");
  if (!value) return value.error();
  if (value->is_null()) return {};
  if (!value->is_object()) return wrong("error reading build args: it is not an object");
  for (const auto& [name, text] : value->items()) {
    if (!text.is_string() && !text.is_null())
      return wrong("error reading build args: " + name + " is not a string");
    options.arguments[name] =
        text.is_null() ? std::optional<std::string>() : text.get<std::string>();
  }
  return {};
}

Result<void> take_labels(const http::Query& query, BuildOptions& options) {
  const auto value = json_parameter(query, "labels", "labels");
  if (!value) return value.error();
  if (value->is_null()) return {};
  if (!value->is_object()) return wrong("error reading labels: it is not an object");
  for (const auto& [name, text] : value->items()) {
    if (!text.is_string()) return wrong("error reading labels: " + name + " is not a string");
    options.labels[name] = text.get<std::string>();
  }
  return {};
}

Result<void> take_cache_from(const http::Query& query, BuildOptions& options) {
  const auto value = json_parameter(query, "cachefrom", "cache sources");
  if (!value) return value.error();
  if (value->is_null()) return {};
  if (!value->is_array()) return wrong("error reading cache sources: it is not a list");
  for (const json& name : *value) {
    if (!name.is_string()) return wrong("error reading cache sources: one is not a string");
    options.cache_from.push_back(name.get<std::string>());
  }
  return {};
}

Result<void> take_tags(const http::Query& query, BuildOptions& options) {
  for (const std::string& tag : query.get_all("t")) {
    if (tag.empty()) continue;
    const auto reference = images::Reference::parse(tag);
    if (!reference) return reference.error();
    if (!reference->digest().empty()) return wrong("build tag cannot contain a digest");
    const std::string name = reference->with_default_tag().familiar();
    if (std::find(options.tags.begin(), options.tags.end(), name) == options.tags.end())
      options.tags.push_back(name);
  }
  return {};
}

Result<void> take_limits(const http::Query& query, BuildOptions& options) {
  constexpr std::pair<const char*, const char*> kNumbers[] = {
      {"memory", "Memory"},       {"memswap", "MemorySwap"}, {"cpushares", "CpuShares"},
      {"cpuperiod", "CpuPeriod"}, {"cpuquota", "CpuQuota"},  {"shmsize", "ShmSize"}};
  json& host = options.host_config;
  for (const auto& [name, field] : kNumbers) {
    const std::string text = query.get_or(name, "");
    if (text.empty()) continue;
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size())
      return wrong("invalid value for " + std::string(name) + ": \"" + text.substr(0, 64) + "\"");
    if (value != 0) host[field] = value;
  }
  for (const auto& [name, field] :
       {std::pair{"cpusetcpus", "CpusetCpus"}, std::pair{"cpusetmems", "CpusetMems"},
        std::pair{"cgroupparent", "CgroupParent"}, std::pair{"networkmode", "NetworkMode"}})
    if (const std::string text = query.get_or(name, ""); !text.empty()) host[field] = text;
  if (const auto hosts = query.get_all("extrahosts"); !hosts.empty()) host["ExtraHosts"] = hosts;
  const auto limits = json_parameter(query, "ulimits", "ulimit settings");
  if (!limits) return limits.error();
  if (!limits->is_null()) host["Ulimits"] = *limits;
  host["LogConfig"] = {{"Type", "none"}, {"Config", json::object()}};
  // Checked now, so that the client does not hear of it at the first RUN only.
  const auto possible = engine::parse_settings({{"Cmd", {"true"}}, {"HostConfig", host}});
  if (!possible) return possible.error();
  return {};
}

Result<void> refuse(const http::Query& query) {
  const std::string version = query.get_or("version", "");
  if (version == "2") return Error{Code::kInvalidArgument, "buildkit is not enabled on daemon"};
  if (!version.empty() && version != "1") return wrong("invalid version " + version.substr(0, 64));
  if (query.get_bool("squash")) return wrong("squash is only supported with experimental mode");
  if (!query.get_all("securityopt").empty())
    return wrong("The daemon on this platform does not support setting security options on build");
  const std::string isolation = query.get_or("isolation", "");
  if (!isolation.empty() && isolation != "default")
    return wrong("Unsupported isolation: \"" + isolation.substr(0, 64) + "\"");
  if (const std::string outputs = query.get_or("outputs", ""); !outputs.empty() && outputs != "[]")
    return wrong("outputs are only supported by BuildKit");
  return {};
}

}  // namespace

Result<BuildQuery> parse_build_query(const http::Query& query) {
  RETURN_IF_ERROR(refuse(query));
  BuildQuery asked;
  if (const std::string file = query.get_or("dockerfile", ""); !file.empty())
    asked.dockerfile = file;
  asked.remote = query.get_or("remote", "");
  asked.quiet = query.get_bool("q");
  BuildOptions& options = asked.options;
  options.target = query.get_or("target", "");
  options.build_id = query.get_or("buildid", "");
  options.no_cache = query.get_bool("nocache");
  options.pull = query.get_bool("pull");
  options.force_remove = query.get_bool("forcerm");
  options.remove = options.force_remove || query.get_bool("rm", true);
  RETURN_IF_ERROR(engine::build::check_build_platform(query.get_or("platform", "")));
  RETURN_IF_ERROR(take_tags(query, options));
  RETURN_IF_ERROR(take_arguments(query, options));
  RETURN_IF_ERROR(take_labels(query, options));
  RETURN_IF_ERROR(take_cache_from(query, options));
  RETURN_IF_ERROR(take_limits(query, options));
  return asked;
}

}  // namespace docker::build
