// The files of a template on disk. All of this blocks; any thread.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "api/machines/templates/template.h"
#include "api/machines/templates/template_spec.h"
#include "vmm/base/result.h"

namespace engine {

/// The file `info` of a template.
struct TemplateInfo {
  std::uint32_t version = TemplateSpec::Versions::kFiles;
  TemplateSpec spec;
  std::vector<std::uint32_t> streams;
  std::uint64_t resident_bytes = 0;
  static void fields(auto& self, auto&& visit) {
    visit(self.version, self.spec, self.streams, self.resident_bytes);
  }
};

/// Opens the template in `directory`. kNotFound: none, or unfinished; kDataLoss: not what it should
/// be.
base::Result<std::shared_ptr<const Template>> open_template(const std::filesystem::path& directory,
                                                            const TemplateSpec& spec);

/// A template that is being made in a directory of its own; it is gone unless publish() was called.
class TemplateDraft {
 public:
  static base::Result<TemplateDraft> create(const std::filesystem::path& directory);
  TemplateDraft(TemplateDraft&& other) noexcept;
  TemplateDraft& operator=(TemplateDraft&&) = delete;
  ~TemplateDraft();

  const base::UniqueFd& memory() const { return memory_; }
  const base::UniqueFd& state() const { return state_; }

  /// Syncs the files, writes `info`, and gives the directory its final name, replacing what was
  /// there.
  base::Result<void> publish(const TemplateInfo& info, const std::filesystem::path& final_name);

 private:
  TemplateDraft(std::filesystem::path directory, base::UniqueFd memory, base::UniqueFd state)
      : directory_(std::move(directory)), memory_(std::move(memory)), state_(std::move(state)) {}

  std::filesystem::path directory_;  // empty: published or moved away
  base::UniqueFd memory_;
  base::UniqueFd state_;
};

/// Removes every template below `root` that was not made of the inputs of `current`, and all
/// drafts.
void remove_outdated_templates(const std::filesystem::path& root, const TemplateSpec& current);

}  // namespace engine
