// HostGroups: the cgroups of one daemon on its host, and its place in them.
//
//   <cgroup v2>/containervm-<tag>/daemon       this process and what it starts without a group
//                                 machine-<n>  a monitor each (local_privileged.h)
//                                 layer-<n>    a layer tool (images/store/layers/layer_group.h)
// Memory that the daemon needs is the last that the host takes away, and the daemon the last that
// it kills for want of memory. Threads: open() while the process has no other users of these
// groups: with the state's lock held.
#pragma once

#include <filesystem>
#include <string>

#include "vmm/base/result.h"

namespace engine {

/// Six hexadecimal digits that tell this state directory from others on the host: part of names.
std::string host_tag(const std::filesystem::path& state);

class HostGroups {
 public:
  /// Makes the groups, moves this process into "daemon", protects it and ends what an earlier
  /// daemon left of layer tools. kNotSupported without cgroup v2.
  static base::Result<HostGroups> open(const std::string& tag);
  /// The same with a root that is there, for a process that is in the group `before`.
  static base::Result<HostGroups> enter(std::filesystem::path root, std::filesystem::path before);

  HostGroups(HostGroups&& other) noexcept;
  HostGroups& operator=(HostGroups&& other) noexcept;
  /// Moves this process back to where it came from and removes the groups, as far as no machine is
  /// left in them.
  ~HostGroups();

  /// Where groups of machines and tools are made.
  const std::filesystem::path& root() const { return root_; }

 private:
  HostGroups(std::filesystem::path root, std::filesystem::path before)
      : root_(std::move(root)), before_(std::move(before)) {}

  std::filesystem::path root_;
  std::filesystem::path before_;  // the group this process was in
};

/// Lowers this process's place in the order in which the host kills for want of memory. Children
/// inherit it, except by base::spawn().
base::Result<void> protect_from_oom();

}  // namespace engine
