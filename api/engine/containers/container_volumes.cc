#include "api/engine/containers/container_volumes.h"

#include <sys/mount.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>

#include "api/engine/container/container_row.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

bool mounts_volume(const Container& container, const std::string& volume) {
  return std::any_of(container.mounts.begin(), container.mounts.end(),
                     [&](const MountPoint& mount) { return mount.volume == volume; });
}

/// What is not there is the request's fault.
Error refused_bind(const Error& why) {
  return Error{why.code == Code::kNotFound ? Code::kInvalidArgument : why.code,
               "invalid mount config for type \"bind\": " + why.message};
}

/// Written by whoever has it, so the guest keeps it from being written where it is read-only.
SharedFiles shared_volume(const std::filesystem::path& directory) {
  SharedFiles files;
  files.tree.path = directory;
  files.tree.of_daemon = true;
  return files;
}

/// The directory of the host that a volume is. What is read-only the host keeps so; then nothing of
/// the image can be put there either.
SharedFiles shared_device(const VolumeForm& form, const MountPoint& mount) {
  SharedFiles files;
  files.tree.path = form.device;
  files.tree.read_only = form.read_only || mount.read_only;
  files.tree.mounts_below = form.mounts_below;
  return files;
}

/// The flags of mount(2) that Docker would mount it with, as it writes them.
std::string mount_flags_of(const VolumeForm& form) {
  unsigned long flags = MS_BIND;
  if (form.mounts_below) flags |= MS_REC;
  if (form.read_only) flags |= MS_RDONLY;
  if (form.restrictions.no_setuid) flags |= MS_NOSUID;
  if (form.restrictions.no_devices) flags |= MS_NODEV;
  if (form.restrictions.no_exec) flags |= MS_NOEXEC;
  std::array<char, 24> text{};
  std::snprintf(text.data(), text.size(), "0x%lx", flags);
  return text.data();
}

/// `place`: where Docker would mount it. `found`: what is wrong with the device, or what it is
/// instead of a directory.
Error not_mounted(const VolumeForm& form, const std::filesystem::path& place,
                  const Result<HostFile>& found) {
  const std::string begin =
      "error while mounting volume '" + place.string() + "': failed to mount local volume: ";
  if (!found && found.error().code != Code::kNotFound)
    return base::annotate(found.error(), begin.substr(0, begin.size() - 2));
  return {Code::kInternal, begin + "mount " + form.device + ":" + place.string() +
                               ", flags: " + mount_flags_of(form) + ": " +
                               (found ? "not a directory" : "no such file or directory")};
}

SharedFiles shared_files(const MountPoint& mount) {
  using launch::file_server::Caching;
  const HostSource& host = mount.host;
  SharedFiles files;
  files.tree.path = host.path;
  files.tree.read_only = mount.read_only;
  files.tree.read_only_below = host.read_only_below;
  files.tree.mounts_below = host.mounts_below;
  files.tree.create = host.create;
  files.caching = host.relaxed ? Caching::kRelaxed : Caching::kStrict;
  return files;
}

}  // namespace

/// The volumes of other containers that VolumesFrom names.
Result<std::vector<MountPoint>> ContainerVolumes::of_others(const Settings& settings) const {
  std::vector<MountPoint> mounts;
  for (const VolumesFrom& from : settings.mounts.volumes_from) {
    const auto other = table_.find(from.container);
    if (!other) return Error{Code::kInvalidArgument, other.error().message};
    RETURN_IF_ERROR(check_not_set_aside(**other));
    for (MountPoint mount : (*other)->mounts) {
      mount.copy_up = false;  // the other container's first start does that
      mount.mode.clear();
      mount.read_only = mount.read_only || from.read_only;
      std::erase_if(mounts, [&](const auto& m) { return m.destination == mount.destination; });
      mounts.push_back(std::move(mount));
    }
  }
  return mounts;
}

net::awaitable<Result<void>> ContainerVolumes::make(ContainerPtr container) {
  auto mounts = of_others(container->settings);
  if (!mounts) co_return std::move(mounts).error();
  for (const MountPoint& mount : *mounts) take(*container, mount);
  std::vector<MountWish> wishes = container->settings.mounts.volumes;
  for (MountWish& wish : wishes)
    if (auto made = co_await make_one(container, std::move(wish)); !made) co_return made;
  if (container->mounts.size() > kMostMounts)
    co_return Error{
        Code::kInvalidArgument,
        "a container has at most " + std::to_string(kMostMounts) + " volumes and bind mounts here"};
  // Sorted, so that a directory comes before what lies below it.
  std::sort(container->mounts.begin(), container->mounts.end(),
            [](const MountPoint& a, const MountPoint& b) { return a.destination < b.destination; });
  co_return Result<void>();
}

net::awaitable<Result<void>> ContainerVolumes::make_one(ContainerPtr container, MountWish wish) {
  const auto there =
      std::find_if(container->mounts.begin(), container->mounts.end(),
                   [&](const MountPoint& m) { return m.destination == wish.mount.destination; });
  if (there != container->mounts.end()) {
    const bool of_volumes = !wish.mount.is_bind() && wish.mount.mode.empty();
    if (of_volumes) co_return Result<void>();  // what is mounted there wins
    const std::string volume = there->volume;
    container->mounts.erase(there);
    if (!mounts_volume(*container, volume)) volumes_.forget(volume, container->id);
  }
  if (wish.mount.is_bind()) {
    if (wish.must_exist) {
      auto found = co_await machines_.check_host_path(wish.mount.host.path);
      if (!found) co_return refused_bind(found.error());
    }
    take(*container, wish.mount);
    co_return Result<void>();
  }
  VolumeWish wanted{.name = wish.mount.volume,
                    .driver = std::move(wish.driver),
                    .labels = std::move(wish.labels),
                    .options = std::move(wish.options),
                    .with_container = wish.mount.anonymous};
  const auto volume = co_await volumes_.create(std::move(wanted));
  if (!volume) co_return volume.error();
  wish.mount.volume = (*volume)->name;
  take(*container, wish.mount);
  co_return Result<void>();
}
void ContainerVolumes::take(Container& container, const MountPoint& mount) {
  if (!mount.is_bind()) volumes_.use(mount.volume, container.id);
  container.mounts.push_back(mount);
}

std::vector<VolumePtr> ContainerVolumes::own(const Container& container) const {
  std::vector<VolumePtr> own;
  for (const MountPoint& mount : container.mounts) {
    const auto volume = volumes_.find(mount.volume);
    if (mount.anonymous && volume && (*volume)->users.size() == 1) own.push_back(*volume);
  }
  return own;
}

net::awaitable<void> ContainerVolumes::drop(ContainerPtr container, std::vector<VolumePtr> gone) {
  volumes_.forget_user(container->id);
  for (const VolumePtr& volume : gone) co_await volumes_.take_away(volume);
}

void ContainerVolumes::mention(const Container& container) {
  for (const MountPoint& mount : container.mounts) volumes_.use(mount.volume, container.id);
}

void ContainerVolumes::mention_all_of(const Container& container, std::string_view mounts_text) {
  for (const VolumePtr& volume : volumes_.list())
    if (mentions_volume(mounts_text, volume->name)) volumes_.use(volume->name, container.id);
}

std::vector<VolumePtr> ContainerVolumes::unstored(const Container& container) const {
  std::vector<VolumePtr> made = own(container);
  std::erase_if(made, [](const VolumePtr& volume) { return volume->stored; });
  return made;
}

net::awaitable<MountSource> ContainerVolumes::bind_source(MountPoint mount) const {
  const auto file = co_await machines_.check_host_path(mount.host.path);
  if (file && file->is_socket) co_return HostSocket{.path = mount.host.path, .file = *file};
  co_return SharedSource{.files = shared_files(mount)};
}

net::awaitable<Result<MountSource>> ContainerVolumes::volume_source(MountPoint mount) const {
  if (volumes_.is_disk(mount.volume)) co_return volumes_.disk_of(mount.volume);
  const std::optional<VolumeForm> bound = volumes_.bind_of(mount.volume);
  if (!bound) co_return SharedSource{.files = shared_volume(volumes_.directory_of(mount.volume))};
  if (bound->device.empty())
    co_return Error{Code::kConflict, "the volume " + mount.volume +
                                         " is damaged: its row does not say which directory it is"};
  const auto file = co_await machines_.check_host_path(bound->device);
  if (!file || !file->is_directory)
    co_return not_mounted(*bound, volumes_.data_of(mount.volume), file);
  co_return SharedSource{.files = shared_device(*bound, mount),
                         .restrictions = bound->restrictions};
}

net::awaitable<Result<std::vector<MountSource>>> ContainerVolumes::sources(
    ContainerPtr container) const {
  std::vector<MountSource> sources;
  for (const MountPoint& mount : container->mounts) {
    if (mount.is_bind()) {
      MountSource source = co_await bind_source(mount);
      sources.push_back(std::move(source));
    } else {
      auto source = co_await volume_source(mount);
      if (!source) co_return std::move(source).error();
      sources.push_back(*std::move(source));
    }
  }
  co_return sources;
}

bool ContainerVolumes::lasts(const Container& container, bool own_too) const {
  const std::vector<VolumePtr> own = this->own(container);
  return std::any_of(container.mounts.begin(), container.mounts.end(), [&](const auto& mount) {
    const auto is_it = [&](const VolumePtr& volume) { return volume->name == mount.volume; };
    return !mount.read_only && !(own_too && std::any_of(own.begin(), own.end(), is_it));
  });
}

}  // namespace engine
