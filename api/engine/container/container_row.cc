#include "api/engine/container/container_row.h"

#include <algorithm>

#include "api/engine/state/identifiers.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

bool is_hex(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool is_image_id(std::string_view text) {
  constexpr std::string_view kPrefix = "sha256:";
  return text.starts_with(kPrefix) && text.size() == kPrefix.size() + 64 &&
         is_hex(text.substr(kPrefix.size()));
}

void complain(ContainerRow& row, std::string what) {
  if (row.damage.empty()) row.damage = std::move(what);
}

}  // namespace

const std::string_view kContainerRows =
    "SELECT id, name, created_ns, image_id, settings, state, mounts, damage FROM containers";

ContainerRow read_container_row(const Database::Row& row) {
  Stored<Settings> settings = stored_settings(row.text(4));
  Stored<ContainerState> state = stored_state(row.text(5));
  Stored<std::vector<MountPoint>> mounts = stored_mounts(row.text(6));
  ContainerRow container{.id = row.text(0),
                         .name = row.text(1),
                         .created = row.integer(2),
                         .image_id = row.text(3),
                         .settings = std::move(settings.value),
                         .state = std::move(state.value),
                         .mounts = std::move(mounts.value),
                         .mounts_text = row.text(6),
                         .damage = {},
                         .marked = row.text(7)};
  if (!has_valid_id(container)) complain(container, "id is not 64 hexadecimal digits");
  if (!is_valid_name(container.name)) complain(container, "name is no name of a container");
  if (!row.is_integer(2) || container.created < 0) complain(container, "created_ns is not a time");
  if (!is_image_id(container.image_id)) complain(container, "image_id is not an image's ID");
  complain(container, std::move(settings.damage));
  complain(container, std::move(state.damage));
  complain(container, std::move(mounts.damage));
  return container;
}

bool has_valid_id(const ContainerRow& row) { return row.id.size() == 64 && is_hex(row.id); }

bool mentions_volume(std::string_view mounts_text, std::string_view volume) {
  return mounts_text.find("\"" + std::string(volume) + "\"") != std::string_view::npos;
}

Result<void> check_not_set_aside(const Container& container) {
  if (container.damage.empty()) return {};
  return Error{Code::kConflict,
               "container " + container.id + " is set aside, because its record is damaged (" +
                   container.damage + "): its files can be copied, and it can be removed"};
}

}  // namespace engine
