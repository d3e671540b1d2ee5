#include "api/engine/settings/security_settings.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "api/engine/state/json_fields.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;

namespace {

constexpr auto kMaskedPaths = std::to_array<const char*>(
    {"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys",
     "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
     "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"});
constexpr auto kReadOnlyPaths = std::to_array<const char*>(
    {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"});

constexpr auto kOptions = std::to_array<std::string_view>(
    {"no-new-privileges", "no-new-privileges:true", "no-new-privileges=true",
     "no-new-privileges:false", "no-new-privileges=false", "apparmor=unconfined",
     "apparmor:unconfined", "label=disable"});

bool is_seccomp(const std::string& option) {
  return option.starts_with("seccomp=") || option.starts_with("seccomp:");
}

Result<void> check_options(const std::vector<std::string>& options) {
  for (const std::string& option : options)
    if (!is_seccomp(option) &&
        std::find(kOptions.begin(), kOptions.end(), option) == kOptions.end())
      return Error{Code::kNotSupported,
                   "security option \"" + option.substr(0, 64) + "\" is not supported"};
  return {};
}

bool no_new_privileges(const std::vector<std::string>& options) {
  return std::any_of(options.begin(), options.end(), [](const std::string& option) {
    return option.starts_with("no-new-privileges") && !option.ends_with("false");
  });
}

/// The last "seccomp" counts.
std::optional<std::string> seccomp_profile_of(const std::vector<std::string>& options,
                                              bool privileged) {
  const std::optional<std::string> usual =
      privileged ? std::nullopt : std::optional<std::string>(std::in_place);
  std::optional<std::string> text = usual;
  for (const std::string& option : options) {
    if (!is_seccomp(option)) continue;
    std::string value = option.substr(std::string_view("seccomp=").size());
    if (value == "unconfined")
      text.reset();
    else if (value.empty())
      text = usual;
    else
      text = value == "builtin" ? std::string() : std::move(value);
  }
  return text;
}

}  // namespace

Result<Security> parse_security(const json& host) {
  const std::vector<std::string> options = strings_in(host, "SecurityOpt");
  RETURN_IF_ERROR(check_options(options));
  const bool privileged = flag_in(host, "Privileged");
  const auto capabilities =
      capabilities_for(strings_in(host, "CapAdd"), strings_in(host, "CapDrop"), privileged);
  if (!capabilities) return capabilities.error();
  return Security{.privileged = privileged,
                  .capabilities = *capabilities,
                  .seccomp_profile = seccomp_profile_of(options, privileged),
                  .no_new_privileges = no_new_privileges(options),
                  .masked_paths = strings_in(host, "MaskedPaths"),
                  .read_only_paths = strings_in(host, "ReadonlyPaths")};
}

void fill_in_default_paths(json& host) {
  if (flag_in(host, "Privileged")) return;
  if (host.at("MaskedPaths").is_null()) host["MaskedPaths"] = kMaskedPaths;
  if (host.at("ReadonlyPaths").is_null()) host["ReadonlyPaths"] = kReadOnlyPaths;
}

}  // namespace engine
