#include "api/engine/settings/mounts/volume_form.h"

#include "api/engine/settings/mounts/disk_size.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr std::size_t kShown = 256;  // of a client's text in an error

Error invalid(std::string message) { return Error{Code::kInvalidArgument, std::move(message)}; }

std::string shown(const std::string& text) { return text.substr(0, kShown); }

}  // namespace

Result<VolumeForm> volume_form(const std::string& driver,
                               const std::map<std::string, std::string>& options) {
  if (!driver.empty() && driver != "local")
    return Error{Code::kNotFound, "error looking up volume plugin " + shown(driver) +
                                      ": plugin \"" + shown(driver) + "\" not found"};
  VolumeForm form;
  for (const auto& [name, value] : options) {
    if (name == "size" || (name == "type" && value == "disk")) {
      form.kind = VolumeKind::kDisk;
    } else if (name == "type" || name == "device" || name == "o") {
      return Error{
          Code::kNotSupported,
          "the option \"" + name + "=" + shown(value) +
              "\" of the local driver is not supported: there are volumes in a directory of "
              "the host, and with \"type=disk\" or \"size\" on disks of their own"};
    } else {
      return invalid("invalid option: \"" + shown(name) + "\"");
    }
  }
  const auto size = options.find("size");
  if (size == options.end()) return form;
  const auto bytes = parse_disk_bytes(size->second);
  if (!bytes) return bytes.error();
  form.bytes = *bytes;
  return form;
}

}  // namespace engine
