// Containers: their volumes.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "api/engine/containers/container_row.h"
#include "api/engine/containers/containers.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

Error in_use(const Container& container, const MountPoint& mount, const Container& holder) {
  return Error{Code::kConflict, "cannot use volume " + mount.volume + " in container " +
                                    container.name + ": the running container " + holder.name +
                                    " has it, and here a volume is one running container's at a "
                                    "time"};
}

bool mounts_volume(const Container& container, const std::string& volume) {
  return std::any_of(container.mounts.begin(), container.mounts.end(),
                     [&](const MountPoint& mount) { return mount.volume == volume; });
}

}  // namespace

/// The volumes of other containers that VolumesFrom names.
Result<std::vector<MountPoint>> Containers::mounts_from_others(const Settings& settings) const {
  std::vector<MountPoint> mounts;
  const nlohmann::json& sources = settings.host_config.at("VolumesFrom");
  if (sources.is_null()) return mounts;
  for (const nlohmann::json& source : sources) {
    auto from = parse_volumes_from(source.get_ref<const std::string&>());
    if (!from) return std::move(from).error();
    const auto other = find(from->container);
    if (!other) return Error{Code::kInvalidArgument, other.error().message};
    RETURN_IF_ERROR(check_not_set_aside(**other));
    for (MountPoint mount : (*other)->mounts) {
      mount.copy_up = false;  // the other container's first start does that
      mount.mode.clear();
      mount.read_only = mount.read_only || from->read_only;
      std::erase_if(mounts, [&](const auto& m) { return m.destination == mount.destination; });
      mounts.push_back(std::move(mount));
    }
  }
  return mounts;
}

/// Makes the volumes that the container wants and that are not there. On an Error those without a
/// name are gone again.
net::awaitable<Result<void>> Containers::make_mounts(ContainerPtr container) {
  auto mounts = mounts_from_others(container->settings);
  if (!mounts) co_return std::move(mounts).error();
  auto wishes = mount_wishes(container->settings);
  if (!wishes) co_return std::move(wishes).error();
  for (const MountPoint& mount : *mounts) take_mount(*container, mount);
  for (MountWish& wish : *wishes) {
    const auto there =
        std::find_if(container->mounts.begin(), container->mounts.end(),
                     [&](const MountPoint& m) { return m.destination == wish.mount.destination; });
    if (there != container->mounts.end()) {
      if (wish.mount.mode.empty()) continue;  // of Volumes: what is mounted there wins
      const std::string volume = there->volume;
      container->mounts.erase(there);
      if (!mounts_volume(*container, volume)) parts_.volumes.forget(volume, container->id);
    }
    VolumeWish wanted{.name = wish.mount.volume,
                      .driver = std::move(wish.driver),
                      .labels = std::move(wish.labels),
                      .options = std::move(wish.options),
                      .with_container = wish.mount.anonymous};
    const auto volume = co_await parts_.volumes.create(std::move(wanted));
    if (!volume) co_return volume.error();
    wish.mount.volume = (*volume)->name;
    take_mount(*container, wish.mount);
  }
  if (container->mounts.size() > kMostMounts)
    co_return Error{Code::kInvalidArgument,
                    "a container has at most " + std::to_string(kMostMounts) + " volumes here"};
  // A directory comes before what lies below it.
  std::sort(container->mounts.begin(), container->mounts.end(),
            [](const MountPoint& a, const MountPoint& b) { return a.destination < b.destination; });
  co_return Result<void>();
}

void Containers::take_mount(Container& container, const MountPoint& mount) {
  parts_.volumes.use(mount.volume, container.id);
  container.mounts.push_back(mount);
}

/// Those without a name that no other container mentions.
std::vector<VolumePtr> Containers::own_volumes(const Container& container) const {
  std::vector<VolumePtr> own;
  for (const MountPoint& mount : container.mounts) {
    const auto volume = parts_.volumes.find(mount.volume);
    if (mount.anonymous && volume && (*volume)->users.size() == 1) own.push_back(*volume);
  }
  return own;
}

/// The container mentions its volumes no longer; those of `gone`, which have no row, go.
net::awaitable<void> Containers::drop_mounts(ContainerPtr container, std::vector<VolumePtr> gone) {
  parts_.volumes.forget_user(container->id);
  for (const VolumePtr& volume : gone) co_await parts_.volumes.take_away(volume);
}

/// For a machine that is about to start: all of the container's volumes at once, so that two
/// containers never wait for each other's. Waits for a machine that is only winding down.
net::awaitable<Result<void>> Containers::claim_volumes(ContainerPtr container) {
  for (;;) {
    ContainerPtr holder;
    for (const MountPoint& mount : container->mounts) {
      const auto held = volume_holders_.find(mount.volume);
      if (held == volume_holders_.end() || held->second == container) continue;
      holder = held->second;
      if (holder->state.running()) co_return in_use(*container, mount, *holder);
      break;
    }
    if (!holder) break;
    co_await holder->changed.wait();
    if (container->removals > 0)
      co_return Error{Code::kConflict, "removal of container " + container->id + " is in progress"};
    if (shutting_down_) co_return Error{Code::kUnavailable, "the daemon is shutting down"};
  }
  hold_volumes(container);
  co_return Result<void>();
}

std::vector<std::filesystem::path> Containers::mount_disks(const Container& container) const {
  std::vector<std::filesystem::path> disks;
  for (const MountPoint& mount : container.mounts)
    disks.push_back(parts_.volumes.disk_of(mount.volume));
  return disks;
}

void Containers::hold_volumes(const ContainerPtr& container) {
  for (const MountPoint& mount : container->mounts) volume_holders_[mount.volume] = container;
}

/// Nothing of the container's uses its volumes any more. The caller notifies `changed`.
void Containers::release_volumes(const ContainerPtr& container) {
  std::erase_if(volume_holders_, [&](const auto& held) { return held.second == container; });
}

/// Whether what a machine has not written back yet is missed. `own_too`: not if it is in one of
/// own_volumes().
bool Containers::has_lasting_volumes(const Container& container, bool own_too) const {
  const std::vector<VolumePtr> own = own_volumes(container);
  return std::any_of(container.mounts.begin(), container.mounts.end(), [&](const auto& mount) {
    const auto is_it = [&](const VolumePtr& volume) { return volume->name == mount.volume; };
    return !mount.read_only && !(own_too && std::any_of(own.begin(), own.end(), is_it));
  });
}

}  // namespace engine
