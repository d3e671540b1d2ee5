#include "guest-init/container/mount_options.h"

#include <linux/mount.h>

#include <algorithm>
#include <array>

namespace guest_init {
namespace {

struct Flag {
  std::string_view name;
  std::uint64_t clear;
  std::uint64_t set;
};

constexpr std::array kFlags = {
    Flag{"defaults", 0, 0},
    Flag{"ro", 0, MOUNT_ATTR_RDONLY},
    Flag{"rw", MOUNT_ATTR_RDONLY, 0},
    Flag{"nosuid", 0, MOUNT_ATTR_NOSUID},
    Flag{"suid", MOUNT_ATTR_NOSUID, 0},
    Flag{"nodev", 0, MOUNT_ATTR_NODEV},
    Flag{"dev", MOUNT_ATTR_NODEV, 0},
    Flag{"noexec", 0, MOUNT_ATTR_NOEXEC},
    Flag{"exec", MOUNT_ATTR_NOEXEC, 0},
    Flag{"noatime", MOUNT_ATTR__ATIME, MOUNT_ATTR_NOATIME},
    Flag{"relatime", MOUNT_ATTR__ATIME, MOUNT_ATTR_RELATIME},
    Flag{"atime", MOUNT_ATTR__ATIME, MOUNT_ATTR_RELATIME},
    Flag{"norelatime", MOUNT_ATTR__ATIME, MOUNT_ATTR_RELATIME},
    Flag{"strictatime", MOUNT_ATTR__ATIME, MOUNT_ATTR_STRICTATIME},
    Flag{"nodiratime", 0, MOUNT_ATTR_NODIRATIME},
    Flag{"diratime", MOUNT_ATTR_NODIRATIME, 0},
    // A mount in a machine of its own propagates nowhere.
    Flag{"private", 0, 0},
    Flag{"rprivate", 0, 0},
};

constexpr std::array<std::string_view, 6> kParameters = {"size", "mode",      "uid",
                                                         "gid",  "nr_inodes", "nr_blocks"};

base::Error refused(std::string_view option) {
  return {base::Code::kInvalidArgument, "invalid tmpfs option \"" + std::string(option) + "\""};
}

base::Result<void> apply(TmpfsOptions& result, std::string_view option) {
  const auto flag = std::find_if(kFlags.begin(), kFlags.end(),
                                 [&](const Flag& candidate) { return candidate.name == option; });
  if (flag != kFlags.end()) {
    result.attributes = (result.attributes & ~flag->clear) | flag->set;
    return {};
  }
  const std::size_t equals = option.find('=');
  if (equals == std::string_view::npos || equals + 1 == option.size()) return refused(option);
  const std::string_view key = option.substr(0, equals);
  if (std::find(kParameters.begin(), kParameters.end(), key) == kParameters.end())
    return refused(option);
  std::erase_if(result.parameters, [&](const auto& parameter) { return parameter.first == key; });
  result.parameters.emplace_back(std::string(key), std::string(option.substr(equals + 1)));
  return {};
}

}  // namespace

base::Result<TmpfsOptions> parse_tmpfs_options(std::string_view options) {
  TmpfsOptions result;
  result.attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  while (!options.empty()) {
    const std::string_view option = options.substr(0, options.find(','));
    options.remove_prefix(std::min(options.size(), option.size() + 1));
    if (option.empty()) continue;
    RETURN_IF_ERROR(apply(result, option));
  }
  return result;
}

}  // namespace guest_init
