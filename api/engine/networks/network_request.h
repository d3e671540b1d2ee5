// NetworkRequest: a network as a create request asks for it.
//
// Trust: all of it is the client's. Errors carry Docker's sentences: kInvalidArgument,
// kPermissionDenied for what Docker reserves to itself, kNotFound for a driver that is not there,
// kNotSupported for what this host does not honour. Threads: any.
// Spec: Docker Engine API 1.51, POST /networks/create.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "api/networks/networks.h"
#include "vmm/base/result.h"

namespace engine {

struct NetworkRequest {
  nlohmann::json document;  // every field of network_fields(), to be shown and stored
  std::map<std::string, std::string> labels;
  std::map<std::string, std::string> options;
  std::string host_address;  // where its ports are published, unless a container says otherwise
  NetworkSpec spec;          // `bridge` is empty unless an option names it
  std::string warning;       // for the client: what of it is not used
};

/// Of a request's body, or of a row that keeps a document.
base::Result<NetworkRequest> parse_network_request(const nlohmann::json& body);

/// "bridge", "host", "none", "default": nobody makes or removes a network of such a name.
bool is_predefined_network(std::string_view name);

}  // namespace engine
