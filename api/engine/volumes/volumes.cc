#include "api/engine/volumes/volumes.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "api/engine/state/identifiers.h"
#include "api/engine/state/stored_fields.h"
#include "api/engine/volumes/file_tree.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

constexpr const char* kAnonymousLabel = "com.docker.volume.anonymous";
constexpr const char* kDisk = "disk";

constexpr const char* kData = "_data";

// As rows have them.
struct KindName {
  VolumeKind kind;
  const char* name;
};
constexpr std::array<KindName, 3> kKinds{{{VolumeKind::kDirectory, "directory"},
                                          {VolumeKind::kDisk, "disk"},
                                          {VolumeKind::kBind, "bind"}}};

/// A column of texts by name.
std::map<std::string, std::string> read_texts(const std::string& text, const char* column,
                                              std::string& damage) {
  json value;
  value[column] = stored_json(text);
  std::map<std::string, std::string> texts;
  StoredFields fields(value, "row");
  fields.read(column, texts);
  if (damage.empty()) damage = fields.damage();
  return texts;
}

/// What a row says of the volume's form. A disk's size is that of its file, and rows of older
/// daemons have no options; only what is the client's own directory is in the options alone.
VolumeForm read_form(const std::string& kind, const Volume& volume, std::string& damage) {
  const auto known = std::ranges::find(kKinds, kind, &KindName::name);
  if (known == kKinds.end()) {
    if (damage.empty()) damage = "row.kind is no kind of a volume";
    return {.kind = VolumeKind::kDisk};
  }
  if (known->kind != VolumeKind::kBind) return {.kind = known->kind};
  if (auto form = volume_form({}, volume.options); form && form->kind == VolumeKind::kBind)
    return *std::move(form);
  if (damage.empty()) damage = "row.options do not say which directory it is";
  return {.kind = VolumeKind::kBind};
}

VolumePtr read_volume(const Database::Row& row) {
  const auto volume = std::make_shared<Volume>();
  volume->name = row.text(0);
  volume->created = row.integer(1);
  if (!check_volume_name(volume->name)) volume->damage = "row.name is no name of a volume";
  if (volume->damage.empty() && (!row.is_integer(1) || volume->created < 0))
    volume->damage = "row.created_ns is not a time";
  volume->labels = read_texts(row.text(2), "labels", volume->damage);
  volume->options = read_texts(row.text(3), "options", volume->damage);
  volume->form = read_form(row.text(5), *volume, volume->damage);
  return volume;
}

Error damaged_error(const Volume& volume) {
  return Error{Code::kConflict, "the volume " + volume.name + " is damaged (" + volume.damage +
                                    "): it can only be removed"};
}

}  // namespace

bool Volume::anonymous() const { return labels.contains(kAnonymousLabel); }

Volumes::Volumes(Parts parts)
    : parts_(std::move(parts)), making_(parts_.executor), measuring_(parts_.executor) {}

fs::path Volumes::directory_of(std::string_view name) const {
  return parts_.directory / std::string(name);
}

fs::path Volumes::disk_of(std::string_view name) const { return directory_of(name) / kDisk; }

fs::path Volumes::data_of(std::string_view name) const { return directory_of(name) / kData; }

fs::path Volumes::files_of(const Volume& volume) const {
  return volume.form.kind == VolumeKind::kDisk ? disk_of(volume.name) : data_of(volume.name);
}

bool Volumes::is_disk(std::string_view name) const {
  const auto found = volumes_.find(name);
  return found != volumes_.end() && found->second->form.kind == VolumeKind::kDisk;
}

std::optional<VolumeForm> Volumes::bind_of(std::string_view name) const {
  const auto found = volumes_.find(name);
  if (found == volumes_.end() || found->second->form.kind != VolumeKind::kBind) return std::nullopt;
  return found->second->form;
}

net::awaitable<std::optional<std::uint64_t>> Volumes::bytes_of(VolumePtr volume) const {
  if (volume->form.kind == VolumeKind::kBind) co_return std::nullopt;
  const auto lock = co_await measuring_.lock();
  std::function<std::uint64_t()> count = [path = files_of(*volume)] { return bytes_of_tree(path); };
  co_return co_await parts_.pool.run(std::move(count));
}

/// The names of all rows.
Result<std::set<std::string>> Volumes::load_rows() {
  std::vector<std::pair<VolumePtr, std::string>> rows;  // and what an earlier daemon found wrong
  RETURN_IF_ERROR(parts_.database.run(
      "SELECT name, created_ns, labels, options, damage, kind FROM volumes", {},
      [&](const Database::Row& row) { rows.emplace_back(read_volume(row), row.text(4)); }));
  std::set<std::string> names;
  for (const auto& [volume, marked] : rows) {
    names.insert(volume->name);
    if (check_volume_name(volume->name)) {  // it names a directory
      volumes_.emplace(volume->name, volume);
      std::error_code error;
      const bool disk = volume->form.kind == VolumeKind::kDisk;
      const fs::path files = disk ? disk_of(volume->name) : directory_of(volume->name);
      if (volume->damage.empty() && !fs::exists(files, error))
        volume->damage = (disk ? "its disk " : "its directory ") + files.string() + " is gone";
    }
    mark(*volume, marked);
  }
  return names;
}

void Volumes::mark(const Volume& volume, const std::string& marked) {
  if (!volume.damage.empty()) spdlog::error("volume {} is damaged: {}", volume.name, volume.damage);
  if (volume.damage == marked) return;
  if (volume.damage.empty()) spdlog::info("volume {} is no longer damaged", volume.name);
  const auto done = parts_.database.run("UPDATE volumes SET damage = ? WHERE name = ?",
                                        {volume.damage, volume.name});
  if (!done) spdlog::error("mark a damaged volume: {}", done.error().message);
}

Result<void> Volumes::load() {
  const auto names = load_rows();
  if (!names) return names.error();
  std::error_code error;
  fs::create_directories(parts_.directory, error);
  if (error)
    return Error{Code::kInternal, "make " + parts_.directory.string() + ": " + error.message()};
  // A row whose name is damaged may be that of any directory.
  const bool all_known = std::all_of(names->begin(), names->end(), [](const std::string& name) {
    return check_volume_name(name).has_value();
  });
  if (!all_known) return {};
  for (const auto& entry : fs::directory_iterator(parts_.directory, error)) {
    if (names->contains(entry.path().filename().string())) continue;
    spdlog::info("removing the remains of volume {}", entry.path().filename().string());
    if (auto removed = remove_tree(entry.path()); !removed)
      spdlog::error("{}", removed.error().message);
  }
  return {};
}

void Volumes::publish(const Volume& volume, std::string action) const {
  parts_.events.publish(Event{.type = "volume",
                              .action = std::move(action),
                              .actor = volume.name,
                              .attributes = {{"driver", "local"}},
                              .time = 0});
}

net::awaitable<Result<VolumePtr>> Volumes::create(VolumeWish wish) {
  if (wish.name.empty()) {
    wish.name = random_id();
    wish.labels.emplace(kAnonymousLabel, "");
  }
  RETURN_IF_ERROR_ASYNC(check_volume_name(wish.name));
  const auto form = volume_form(wish.driver, wish.options);
  if (!form) co_return base::annotate(form.error(), "create " + wish.name);
  const auto lock = co_await making_.lock();
  if (const auto there = volumes_.find(wish.name); there != volumes_.end()) {
    if (!there->second->damage.empty()) co_return damaged_error(*there->second);
    co_return there->second;
  }
  co_return co_await make(std::move(wish), *form);
}

net::awaitable<Result<VolumePtr>> Volumes::make(VolumeWish wish, VolumeForm form) {
  const auto volume = std::make_shared<Volume>(Volume{.name = std::move(wish.name),
                                                      .created = now_ns(),
                                                      .labels = std::move(wish.labels),
                                                      .options = std::move(wish.options),
                                                      .form = std::move(form),
                                                      .users = {},
                                                      .stored = false});
  const fs::path directory = directory_of(volume->name);
  if (::mkdir(directory.c_str(), 0700) != 0)
    co_return base::errno_error("mkdir " + directory.string());
  Result<void> made = co_await make_files(*volume);
  if (made && !wish.with_container) made = insert_row(*volume);
  if (!made) {
    [[maybe_unused]] const auto removed = remove_tree(directory);
    co_return base::annotate(std::move(made).error(), "create " + volume->name);
  }
  volumes_.emplace(volume->name, volume);
  if (!wish.with_container) set_stored(*volume);
  co_return volume;
}

net::awaitable<Result<void>> Volumes::make_files(const Volume& volume) {
  const fs::path files = files_of(volume);
  if (volume.form.kind == VolumeKind::kDisk)
    co_return co_await parts_.disks.create(files, volume.form.bytes);
  if (::mkdir(files.c_str(), 0755) != 0) co_return base::errno_error("mkdir " + files.string());
  co_return Result<void>();
}

Result<void> Volumes::insert_row(const Volume& volume) {
  const auto kind = std::ranges::find(kKinds, volume.form.kind, &KindName::kind);
  return parts_.database.run(
      "INSERT INTO volumes (name, created_ns, labels, options, kind) VALUES (?, ?, ?, ?, ?)",
      {volume.name, volume.created, json(volume.labels).dump(), json(volume.options).dump(),
       kind->name});
}

void Volumes::set_stored(Volume& volume) {
  volume.stored = true;
  publish(volume, "create");
}

Result<VolumePtr> Volumes::find(std::string_view name) const {
  const auto found = volumes_.find(name);
  if (found == volumes_.end())
    return Error{Code::kNotFound, "get " + std::string(name.substr(0, 256)) + ": no such volume"};
  return found->second;
}

std::vector<VolumePtr> Volumes::list() const {
  std::vector<VolumePtr> all;
  for (const auto& [name, volume] : volumes_) all.push_back(volume);
  return all;
}

net::awaitable<Result<void>> Volumes::remove(VolumePtr volume) {
  const auto found = volumes_.find(volume->name);
  if (found == volumes_.end() || found->second != volume)
    co_return Error{Code::kNotFound, "get " + volume->name + ": no such volume"};
  if (!volume->users.empty()) {
    std::string ids;
    for (const std::string& id : volume->users) ids += (ids.empty() ? "" : ", ") + id;
    co_return Error{Code::kConflict,
                    "remove " + volume->name + ": volume is in use - [" + ids + "]"};
  }
  RETURN_IF_ERROR_ASYNC(erase_row(*volume));
  co_await take_away(std::move(volume));
  co_return Result<void>();
}

Result<void> Volumes::erase_row(const Volume& volume) {
  return parts_.database.run("DELETE FROM volumes WHERE name = ?", {volume.name});
}

net::awaitable<void> Volumes::take_away(VolumePtr volume) {
  volumes_.erase(volume->name);
  // Aside first: a volume of the same name may be made while this one's files go.
  const fs::path aside = parts_.directory / (".removed-" + random_id());
  std::error_code error;
  fs::rename(directory_of(volume->name), aside, error);
  if (error) spdlog::error("move the volume {} aside: {}", volume->name, error.message());
  if (volume->stored) publish(*volume, "destroy");
  const std::function<Result<void>()> drop = [aside] { return remove_tree(aside); };
  const auto dropped = co_await parts_.pool.run(drop);
  if (!dropped) spdlog::error("{}", dropped.error().message);
}

void Volumes::use(std::string_view name, const std::string& container) {
  if (const auto found = volumes_.find(name); found != volumes_.end())
    found->second->users.insert(container);
}

void Volumes::forget_user(const std::string& container) {
  for (const auto& [name, volume] : volumes_) volume->users.erase(container);
}

void Volumes::forget(std::string_view name, const std::string& container) {
  if (const auto found = volumes_.find(name); found != volumes_.end())
    found->second->users.erase(container);
}

}  // namespace engine
