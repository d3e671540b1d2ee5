#include "images/store/catalog/layer_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <vector>

#include "vmm/base/file_lock.h"

namespace images {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kDigestPrefixBytes = 7;  // "sha256:"

base::Result<void> make_directory(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) return base::errno_error("make " + path, error.value());
  return {};
}

base::Result<std::vector<std::string>> list_directory(const std::string& path) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error))
    names.push_back(entry->path().filename());
  if (error) return base::errno_error("list " + path, error.value());
  return names;
}

base::Result<void> sync_file(int fd) {
  if (::fsync(fd) < 0) return base::errno_error("fsync");
  return {};
}

base::Result<void> sync_directory(const std::string& path) {
  const base::UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return base::errno_error("open " + path);
  return sync_file(directory.get());
}

base::Result<base::UniqueFd> make_temporary(std::string& path) {
  base::UniqueFd fd(::mkostemp(path.data(), O_CLOEXEC));
  if (!fd) return base::errno_error("make a temporary file");
  return fd;
}

base::Result<base::UniqueFd> take_lock(const std::string& path) {
  auto lock = base::lock_file(path);
  if (!lock && lock.error().code == base::Code::kAlreadyExists)
    return base::Error{base::Code::kUnavailable, path + ": another process uses this image store"};
  return lock;
}

}  // namespace

LayerFiles::Draft::~Draft() {
  if (!image_path.empty()) ::unlink(image_path.c_str());
  if (!recipe_path.empty()) ::unlink(recipe_path.c_str());
}

base::Result<LayerFiles> LayerFiles::open(const std::string& root, const std::string& tenant) {
  LayerFiles files;
  files.layers_ = root + "/layers/" + tenant;
  files.temporary_ = root + "/tmp";
  RETURN_IF_ERROR(make_directory(root));
  auto lock = take_lock(root + "/lock");
  if (!lock) return std::move(lock).error();
  files.lock_ = *std::move(lock);
  RETURN_IF_ERROR(make_directory(files.layers_));
  RETURN_IF_ERROR(make_directory(files.temporary_));
  auto leftovers = list_directory(files.temporary_);
  if (!leftovers) return std::move(leftovers).error();
  for (const std::string& name : *leftovers)
    if (::unlink((files.temporary_ + "/" + name).c_str()) < 0)
      return base::errno_error("remove " + name);
  return files;
}

base::Result<void> LayerFiles::remove_unknown(const std::set<std::string>& known) {
  auto names = list_directory(layers_);
  if (!names) return std::move(names).error();
  for (const std::string& name : *names) {
    const std::string diff_id = "sha256:" + name.substr(0, name.find('.'));
    if (known.contains(diff_id)) continue;
    if (::unlink((layers_ + "/" + name).c_str()) < 0) return base::errno_error("remove " + name);
  }
  return {};
}

base::Result<base::UniqueFd> LayerFiles::spool() const {
  std::string path = temporary_ + "/spool-XXXXXX";
  auto fd = make_temporary(path);
  if (fd) ::unlink(path.c_str());
  return fd;
}

base::Result<LayerFiles::Draft> LayerFiles::draft() const {
  Draft draft;
  std::string image_path = temporary_ + "/image-XXXXXX";
  auto image = make_temporary(image_path);
  if (!image) return std::move(image).error();
  draft.image = *std::move(image);
  draft.image_path = std::move(image_path);
  std::string recipe_path = temporary_ + "/recipe-XXXXXX";
  auto recipe = make_temporary(recipe_path);
  if (!recipe) return std::move(recipe).error();
  draft.recipe = *std::move(recipe);
  draft.recipe_path = std::move(recipe_path);
  return draft;
}

base::Result<void> LayerFiles::sync(Draft& draft) const {
  // Machines run as users of their own and get the file opened; nobody ever writes it again.
  if (::fchmod(draft.image.get(), 0444) < 0 || ::fchmod(draft.recipe.get(), 0400) < 0)
    return base::errno_error("chmod");
  RETURN_IF_ERROR(sync_file(draft.image.get()));
  return sync_file(draft.recipe.get());
}

base::Result<void> LayerFiles::publish(Draft& draft, std::string_view diff_id) {
  if (::rename(draft.recipe_path.c_str(), recipe_path(diff_id).c_str()) < 0)
    return base::errno_error("publish layer");
  draft.recipe_path.clear();
  if (::rename(draft.image_path.c_str(), image_path(diff_id).c_str()) < 0)
    return base::errno_error("publish layer");
  draft.image_path.clear();
  return sync_directory(layers_);
}

void LayerFiles::remove(std::string_view diff_id) {
  // What cannot be removed now is removed by the next open().
  ::unlink(image_path(diff_id).c_str());
  ::unlink(recipe_path(diff_id).c_str());
}

std::uint64_t LayerFiles::allocated_bytes(std::string_view diff_id) const {
  std::uint64_t bytes = 0;
  for (const std::string& path : {image_path(diff_id), recipe_path(diff_id)}) {
    struct stat status {};
    if (::stat(path.c_str(), &status) == 0)
      bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
  }
  return bytes;
}

std::string LayerFiles::path(std::string_view diff_id, std::string_view suffix) const {
  return layers_ + "/" + std::string(diff_id.substr(kDigestPrefixBytes)) + std::string(suffix);
}

}  // namespace images
