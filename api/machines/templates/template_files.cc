#include "api/machines/templates/template_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace engine {

namespace {

using base::Code;
using base::Error;
using base::Result;
namespace fs = std::filesystem;

constexpr std::size_t kMaxInfoBytes = 64u << 10;
constexpr const char* kDraftPrefix = "draft-";

Result<base::UniqueFd> open_at(const fs::path& path, int flags) {
  base::UniqueFd file(::open(path.c_str(), flags | O_CLOEXEC, 0600));
  if (!file) return base::errno_error("open " + path.string());
  return file;
}

Result<void> sync(const base::UniqueFd& file, const char* what) {
  if (::fsync(file.get()) != 0) return base::errno_error(std::string("sync ") + what);
  return {};
}

Result<TemplateInfo> read_info(const fs::path& directory) {
  const auto file = open_at(directory / "info", O_RDONLY);
  if (!file) return file.error();
  wire::Bytes bytes(kMaxInfoBytes);
  const ssize_t size = ::read(file->get(), bytes.data(), bytes.size());
  if (size < 0) return base::errno_error("read the template's info");
  bytes.resize(static_cast<std::size_t>(size));
  auto info = wire::decode<TemplateInfo>(bytes);
  if (info && info->version != TemplateSpec::Versions::kFiles)
    return Error{Code::kDataLoss, "the template's files have the format of another version"};
  return info;
}

Result<void> write_info(const fs::path& directory, const TemplateInfo& info) {
  const auto file = open_at(directory / "info", O_WRONLY | O_CREAT | O_EXCL);
  if (!file) return file.error();
  const wire::Bytes bytes = wire::encode(info);
  if (::write(file->get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
    return base::errno_error("write the template's info");
  return sync(*file, "the template's info");
}

Result<void> sync_directory(const fs::path& directory) {
  const auto file = open_at(directory, O_RDONLY | O_DIRECTORY);
  if (!file) return file.error();
  return sync(*file, "the template's directory");
}

}  // namespace

Result<std::shared_ptr<const Template>> open_template(const fs::path& directory,
                                                      const TemplateSpec& spec) {
  auto info = read_info(directory);
  if (!info) return std::move(info).error();
  if (info->spec != spec)
    return Error{Code::kDataLoss, "the template was made from other programs or another shape"};
  auto memory = open_at(directory / "memory", O_RDONLY);
  auto state = open_at(directory / "state", O_RDONLY);
  if (!memory) return std::move(memory).error();
  if (!state) return std::move(state).error();
  auto found = std::make_shared<Template>();
  found->shape = spec.shape;
  found->streams = std::move(info->streams);
  found->memory = std::move(*memory);
  found->state = std::move(*state);
  return std::shared_ptr<const Template>(std::move(found));
}

Result<TemplateDraft> TemplateDraft::create(const fs::path& directory) {
  const fs::path draft = directory.parent_path() / (kDraftPrefix + directory.filename().string());
  std::error_code ignored;
  fs::remove_all(draft, ignored);
  if (::mkdir(draft.c_str(), 0700) != 0)
    return base::errno_error("make directory " + draft.string());
  auto memory = open_at(draft / "memory", O_RDWR | O_CREAT | O_EXCL);
  auto state = open_at(draft / "state", O_RDWR | O_CREAT | O_EXCL);
  if (memory && state) return TemplateDraft(draft, std::move(*memory), std::move(*state));
  fs::remove_all(draft, ignored);
  return memory ? std::move(state).error() : std::move(memory).error();
}

TemplateDraft::TemplateDraft(TemplateDraft&& other) noexcept
    : directory_(std::exchange(other.directory_, {})),
      memory_(std::move(other.memory_)),
      state_(std::move(other.state_)) {}

TemplateDraft::~TemplateDraft() {
  std::error_code ignored;
  if (!directory_.empty()) fs::remove_all(directory_, ignored);
}

Result<void> TemplateDraft::publish(const TemplateInfo& info, const fs::path& final_name) {
  RETURN_IF_ERROR(sync(memory_, "the template's memory"));
  RETURN_IF_ERROR(sync(state_, "the template's state"));
  if (::fchmod(memory_.get(), 0400) != 0 || ::fchmod(state_.get(), 0400) != 0)
    return base::errno_error("seal the template's files");
  RETURN_IF_ERROR(write_info(directory_, info));
  RETURN_IF_ERROR(sync_directory(directory_));
  std::error_code ignored;
  fs::remove_all(final_name, ignored);
  if (::rename(directory_.c_str(), final_name.c_str()) != 0)
    return base::errno_error("publish the template");
  directory_.clear();
  return sync_directory(final_name.parent_path());
}

void remove_outdated_templates(const fs::path& root, const TemplateSpec& current) {
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(root, ignored)) {
    const auto info = read_info(entry.path());
    if (info && of_the_same_inputs(current, info->spec)) continue;
    fs::remove_all(entry.path(), ignored);
  }
}

}  // namespace engine
