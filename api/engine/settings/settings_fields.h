// The table of every field that a create request, and an exec's, can have: its type, its default,
// and whether this host honours it. Nothing a client sends is ignored in silence: what is not
// honoured is refused.
// api/docker/FIELDS.md is this table as text (a test compares them).
// Spec: Docker Engine API 1.51, ContainerConfig, HostConfig, EndpointSettings and ExecConfig.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace engine {

enum class FieldType {
  kBool,
  kInteger,
  kString,
  kStrings,    // array of strings, or null
  kCommand,    // array of strings, one string, or null
  kStringMap,  // object of strings, or null
  kSet,        // object whose values say nothing, or null
  kObject,     // or null
  kArray,      // of anything, or null
};

enum class Support {
  kHonoured,
  kInformation,  // kept and shown again; it asks nothing of the host
  kChecked,      // some values are honoured, the others refused (`note` says which)
  kRefused,      // only its default is accepted
};

struct Field {
  std::string_view name;
  FieldType type;
  std::string_view default_json;  // what inspect shows when the client sent nothing
  Support support;
  std::string_view note;
};

/// The fields at the top of a create request (ContainerConfig).
std::span<const Field> config_fields();
/// The fields of HostConfig.
std::span<const Field> host_config_fields();
/// The fields of NetworkingConfig.EndpointsConfig.<network>.
std::span<const Field> endpoint_fields();
/// The fields of POST /networks/create.
std::span<const Field> network_fields();
/// The fields of POST /containers/{id}/exec.
std::span<const Field> exec_fields();

/// The table as Markdown.
std::string fields_as_markdown();

}  // namespace engine
