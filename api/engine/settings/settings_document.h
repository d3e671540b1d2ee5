// SettingsDocument: what a container is asked to be, as JSON in Docker's own shape: what inspect
// shows, what `commit` makes an image of, and what the database keeps.
//
// Requests and rows become a document by the table of fields (settings_fields.h): every field is
// present and of its type, but values are not checked. Whoever wants to know what a document says
// asks for Settings (settings.h), which are read from it once.
// Trust: requests come from the client, the image's defaults from whoever made the image. Errors:
// kInvalidArgument for a wrong type, kNotSupported for a field that this host does not honour; the
// messages are sentences for the client. Threads: any.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "api/engine/settings/settings_fields.h"
#include "images/store/values/image_config.h"
#include "vmm/base/result.h"

namespace engine {

struct SettingsDocument {
  nlohmann::json config;       // every field of config_fields()
  nlohmann::json host_config;  // every field of host_config_fields()
  nlohmann::json networks;     // by a network's name or ID, every field of endpoint_fields()
};

/// The fields of a request that `fields` describes, defaults filled in; `where` is put before their
/// names in an Error.
base::Result<nlohmann::json> take_fields(std::span<const Field> fields, const nlohmann::json& body,
                                         const std::string& where);

/// The document of a request that says nothing.
SettingsDocument default_document();

/// Makes a document of a create request. The image's defaults are not in it yet.
base::Result<SettingsDocument> requested_document(const nlohmann::json& body);

/// Reads the document of a container's row: fields that the row is too old to have are at their
/// defaults. kDataLoss if it is no such document.
base::Result<SettingsDocument> stored_document(const nlohmann::json& stored);

/// `old` with what an update request (Docker's Resources and RestartPolicy) changes; 0 and empty
/// values in it change nothing. kInvalidArgument, too, for what contradicts an earlier request.
base::Result<SettingsDocument> updated_document(const SettingsDocument& old,
                                                const nlohmann::json& changes);

/// `old` with a place on `network`, as a connect request describes it (its EndpointConfig), instead
/// of the one it had; or with none.
base::Result<SettingsDocument> connected_document(const SettingsDocument& old,
                                                  const std::string& network,
                                                  const nlohmann::json& endpoint);
SettingsDocument disconnected_document(const SettingsDocument& old, const std::string& network);

/// Adds what `image`, and Docker for every container, gives by default; `hostname` is that of a
/// container that asked for none. kInvalidArgument if there is nothing to run then.
base::Result<void> add_defaults(SettingsDocument& document, const images::ContainerDefaults& image,
                                const std::string& hostname);

/// Writes the words that Docker shows for an empty log driver and restart policy. The document's
/// values have been checked.
void name_defaults(SettingsDocument& document);

}  // namespace engine
