#include "guest-init/system/user.h"

#include <algorithm>
#include <array>
#include <optional>

#include "guest-init/system/text_files.h"

namespace guest_init {
namespace {

constexpr std::uint64_t kMaxId = 0x7fffffff;

/// The text up to `separator`, which is removed from `rest` together with it.
std::string_view cut(std::string_view& rest, char separator) {
  const std::size_t end = rest.find(separator);
  const std::string_view head = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  return head;
}

std::optional<std::uint32_t> parse_id(std::string_view text) {
  const auto value = parse_decimal(text);
  if (!value || *value > kMaxId) return std::nullopt;
  return static_cast<std::uint32_t>(*value);
}

struct PasswdEntry {
  std::string_view name;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::string_view home;
};

struct GroupEntry {
  std::string_view name;
  std::uint32_t gid = 0;
  std::string_view members;  // "a,b,c"

  bool has_member(std::string_view user) const {
    std::string_view rest = members;
    while (!rest.empty())
      if (cut(rest, ',') == user) return true;
    return false;
  }
};

// name:password:uid:gid:comment:home:shell
std::optional<PasswdEntry> parse_passwd_line(std::string_view line) {
  PasswdEntry entry;
  entry.name = cut(line, ':');
  cut(line, ':');
  const auto uid = parse_id(cut(line, ':'));
  const auto gid = parse_id(cut(line, ':'));
  cut(line, ':');
  entry.home = cut(line, ':');
  if (entry.name.empty() || entry.name.front() == '#' || !uid || !gid) return std::nullopt;
  entry.uid = *uid;
  entry.gid = *gid;
  return entry;
}

// name:password:gid:members
std::optional<GroupEntry> parse_group_line(std::string_view line) {
  GroupEntry entry;
  entry.name = cut(line, ':');
  cut(line, ':');
  const auto gid = parse_id(cut(line, ':'));
  entry.members = line;
  if (entry.name.empty() || entry.name.front() == '#' || !gid) return std::nullopt;
  entry.gid = *gid;
  return entry;
}

/// Calls `visit` with each entry until it returns true.
template <typename Parse, typename Visit>
void for_each_entry(std::string_view text, Parse parse, Visit visit) {
  while (!text.empty()) {
    std::string_view line = cut(text, '\n');
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (const auto entry = parse(line); entry && visit(*entry)) return;
  }
}

std::optional<PasswdEntry> find_user(std::string_view passwd, std::string_view user) {
  const auto uid = user.empty() ? std::optional<std::uint32_t>(0) : parse_id(user);
  std::optional<PasswdEntry> found;
  for_each_entry(passwd, parse_passwd_line, [&](const PasswdEntry& entry) {
    if (uid ? entry.uid == *uid : entry.name == user) found = entry;
    return found.has_value();
  });
  return found;
}

/// The id of the group `name`, which may be a number without an entry.
std::optional<std::uint32_t> find_group(std::string_view group, std::string_view name) {
  if (const auto gid = parse_id(name)) return gid;
  std::optional<std::uint32_t> found;
  for_each_entry(group, parse_group_line, [&](const GroupEntry& entry) {
    if (entry.name == name) found = entry.gid;
    return found.has_value();
  });
  return found;
}

void add_group(Credentials& credentials, std::uint32_t gid) {
  auto& groups = credentials.groups;
  constexpr std::size_t kMostGroups = 65536;  // NGROUPS_MAX of the kernel
  if (groups.size() < kMostGroups && std::find(groups.begin(), groups.end(), gid) == groups.end())
    groups.push_back(gid);
}

base::Error not_found(std::string message) {
  return base::Error{base::Code::kNotFound, std::move(message)};
}

}  // namespace

base::Result<Credentials> resolve_user(std::string_view spec,
                                       const std::vector<std::string>& additional,
                                       std::string_view passwd, std::string_view group) {
  std::string_view group_name = spec;
  const std::string_view user_name = cut(group_name, ':');
  Credentials credentials;

  const auto user = find_user(passwd, user_name);
  if (user) {
    credentials.uid = user->uid;
    credentials.gid = user->gid;
    credentials.home = std::string(user->home);
  } else if (!user_name.empty()) {
    const auto uid = parse_id(user_name);
    if (!uid)
      return not_found("unable to find user " + std::string(user_name) +
                       ": no matching entries in passwd file");
    credentials.uid = *uid;
  }

  if (!group_name.empty()) {
    const auto gid = find_group(group, group_name);
    if (!gid)
      return not_found("unable to find group " + std::string(group_name) +
                       ": no matching entries in group file");
    credentials.gid = *gid;
  }

  add_group(credentials, credentials.gid);
  // An explicit group replaces the memberships, as Docker does.
  if (group_name.empty() && user)
    for_each_entry(group, parse_group_line, [&](const GroupEntry& entry) {
      if (entry.has_member(user->name)) add_group(credentials, entry.gid);
      return false;
    });
  for (const std::string& name : additional) {
    const auto gid = find_group(group, name);
    if (!gid) return not_found("Unable to find group " + name);
    add_group(credentials, *gid);
  }
  return credentials;
}

}  // namespace guest_init
