#include "guest-init/container/network_files.h"

#include <algorithm>
#include <string_view>

#include "guest-init/system/text_files.h"

namespace guest_init {
namespace {

constexpr std::size_t kMostBytes = 1u << 20;

/// `text` without those of its lines that are in `lines`.
std::string without(std::string_view text, const std::vector<std::string>& lines) {
  std::string rest;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size() - 1) + 1;
    const std::string_view line = text.substr(0, end);
    const std::string_view content = line.substr(0, line.find('\n'));
    if (std::ranges::find(lines, content) == lines.end()) rest += line;
    text.remove_prefix(end);
  }
  return rest;
}

}  // namespace

base::Result<void> NetworkFiles::write_file(const std::string& name,
                                            const std::string& contents) const {
  return create_file(directory_ + "/" + name, contents);
}

base::Result<std::string> NetworkFiles::read_file(const std::string& name) const {
  auto text = read_regular_file(directory_ + "/" + name, kMostBytes + 1);
  if (text && text->size() > kMostBytes)
    return base::Error{base::Code::kResourceExhausted,
                       "/etc/" + name + " has become too large to be changed"};
  return text;
}

base::Result<void> NetworkFiles::write(const protocol::PrepareContainer& spec) {
  resolv_conf_ = spec.resolv_conf_file;
  RETURN_IF_ERROR(write_file("hostname", spec.hostname_file));
  RETURN_IF_ERROR(write_file("hosts", spec.hosts_file));
  return write_file("resolv.conf", spec.resolv_conf_file);
}

base::Result<void> NetworkFiles::update(const protocol::UpdateNetworkFiles& request) {
  const auto hosts = read_file("hosts");
  if (!hosts) return hosts.error();
  std::string changed = without(*hosts, request.removed_hosts);
  if (!request.added_hosts.empty() && !changed.empty() && changed.back() != '\n') changed += '\n';
  for (const std::string& line : request.added_hosts) changed += line + "\n";
  if (changed != *hosts) RETURN_IF_ERROR(write_file("hosts", changed));

  if (request.resolv_conf_file == resolv_conf_) return {};
  const auto resolv_conf = read_file("resolv.conf");
  if (!resolv_conf) return resolv_conf.error();
  if (*resolv_conf != resolv_conf_) return {};
  resolv_conf_ = request.resolv_conf_file;
  return write_file("resolv.conf", resolv_conf_);
}

}  // namespace guest_init
