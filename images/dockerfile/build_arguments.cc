#include "images/dockerfile/build_arguments.h"

#include "images/dockerfile/text.h"

namespace dockerfile {

namespace {

/// These need no ARG.
const std::set<std::string, std::less<>>& proxies() {
  static const std::set<std::string, std::less<>> kProxies{
      "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY",
      "ftp_proxy",  "NO_PROXY",   "no_proxy",    "ALL_PROXY",   "all_proxy"};
  return kProxies;
}

}  // namespace

void BuildArguments::declare_global(std::string name, std::optional<std::string> value) {
  named_.insert(name);
  global_[std::move(name)] = std::move(value);
}

void BuildArguments::declare(std::string name, std::optional<std::string> value) {
  named_.insert(name);
  declared_[std::move(name)] = std::move(value);
}

std::optional<std::string> BuildArguments::value_of(const std::string& name,
                                                    const Values& declared) const {
  if (const auto given = given_.find(name); given != given_.end() && given->second)
    return given->second;
  if (const auto own = declared.find(name); own != declared.end() && own->second)
    return own->second;
  if (const auto global = global_.find(name); global != global_.end()) return global->second;
  return std::nullopt;
}

std::vector<std::string> BuildArguments::all_of(const Values& declared) const {
  std::set<std::string> names(proxies().begin(), proxies().end());
  for (const auto& [name, value] : declared) names.insert(name);
  std::vector<std::string> all;
  for (const std::string& name : names)
    if (const auto value = value_of(name, declared)) all.push_back(name + "=" + *value);
  return all;
}

std::vector<std::string> BuildArguments::for_from() const { return all_of(global_); }

std::vector<std::string> BuildArguments::beside(const std::vector<std::string>& environment) const {
  std::vector<std::string> usable = all_of(declared_);
  std::erase_if(usable, [&](const std::string& item) {
    return value_in(environment, item.substr(0, item.find('='))).has_value();
  });
  return usable;
}

bool BuildArguments::is_told(std::string_view name) const {
  return !proxies().contains(name) || declared_.contains(std::string(name));
}

std::vector<std::string> BuildArguments::unused() const {
  std::vector<std::string> names;
  for (const auto& [name, value] : given_)
    if (!named_.contains(name) && !proxies().contains(name)) names.push_back(name);
  return names;
}

}  // namespace dockerfile
