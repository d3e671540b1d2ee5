// FakeImageStore: knows one image, "busybox", without any file. For tests of the API.
#pragma once

#include <array>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "images/store/store.h"

namespace fakes {

class FakeImageStore final : public images::Store {
 public:
  static constexpr const char* kImageId =
      "sha256:1111111111111111111111111111111111111111111111111111111111111111";

  static constexpr const char* kCommittedId =
      "sha256:2222222222222222222222222222222222222222222222222222222222222222";

  base::Result<images::Image> resolve(std::string_view name) override {
    if (name != "busybox" && name != "busybox:latest" && name != kImageId)
      return base::Error{base::Code::kNotFound, "No such image: " + std::string(name)};
    images::Image image;
    image.id = kImageId;
    image.config.defaults.cmd = {"true"};
    image.config.defaults.env = {"PATH=/bin", "COLOUR=blue"};
    image.config.defaults.labels = {{"vendor", "debian"}};
    image.repo_tags = {"busybox:latest"};
    return image;
  }
  base::Result<images::Image> hold(std::string_view holder, std::string_view) override {
    holders_.emplace(holder);
    return resolve("busybox");
  }
  base::Result<std::vector<images::LayerFile>> held_layers(std::string_view) override {
    return std::vector<images::LayerFile>();
  }
  base::Result<void> release(std::string_view holder) override {
    holders_.erase(std::string(holder));
    return {};
  }
  bool has_admission() const override { return rejection_.has_value(); }
  base::Result<void> may_run(std::string_view) override {
    const std::lock_guard lock(mutex_);
    if (rejection_) return *rejection_;
    return {};
  }
  base::Result<void> retain_only(const std::set<std::string>&) override { return {}; }
  base::Result<std::vector<images::ImageSummary>> list(const images::ListFilter&) override {
    images::ImageSummary summary;
    summary.id = kImageId;
    summary.repo_tags = {"busybox:latest"};
    return std::vector<images::ImageSummary>{summary};
  }
  base::Result<images::DiskUsage> disk_usage() override { return images::DiskUsage{}; }

  base::Result<std::vector<images::LoadedImage>> load(images::ByteSource&,
                                                      const images::LoadObserver&) override {
    return refused();
  }
  base::Result<images::LoadedImage> import(images::ByteSource&,
                                           const images::ImportOptions&) override {
    return refused();
  }
  /// Reads the layer to its end and remembers it.
  base::Result<images::LoadedImage> commit(images::ByteSource& layer,
                                           const images::CommitOptions& options) override {
    std::string text;
    std::array<std::byte, 4096> buffer;
    for (;;) {
      const auto got = layer.read(buffer);
      if (!got) return got.error();
      if (*got == 0) break;
      text.append(reinterpret_cast<const char*>(buffer.data()), *got);
    }
    const std::lock_guard lock(mutex_);
    committed_ = options;
    committed_layer_ = std::move(text);
    images::LoadedImage made{.id = kCommittedId, .repo_tags = {}};
    if (!options.repository_and_tag.empty()) made.repo_tags = {options.repository_and_tag};
    return made;
  }
  base::Result<void> save(const std::vector<std::string>&, images::ByteSink&) override {
    return refused();
  }
  base::Result<std::string> tag(std::string_view, std::string_view) override { return refused(); }
  base::Result<std::unique_ptr<images::Arrival>> begin_arrival() override { return refused(); }
  base::Result<std::unique_ptr<images::Departure>> begin_departure(std::string_view) override {
    return refused();
  }
  base::Result<std::vector<images::Reference>> names_in(std::string_view) override {
    return std::vector<images::Reference>();
  }
  base::Result<std::vector<images::RemovedItem>> remove(std::string_view,
                                                        const images::RemoveOptions&) override {
    return refused();
  }
  base::Result<images::PruneReport> prune(const images::PruneOptions&) override {
    return refused();
  }

  /// From now on no image may run.
  void reject_images(std::string why) {
    const std::lock_guard lock(mutex_);
    rejection_ = base::Error{base::Code::kPermissionDenied, std::move(why)};
  }
  std::size_t holders() const { return holders_.size(); }
  /// Of the last commit().
  const std::optional<images::CommitOptions>& committed() const { return committed_; }
  const std::string& committed_layer() const { return committed_layer_; }

 private:
  static base::Error refused() {
    return base::Error{base::Code::kNotSupported, "not part of this test"};
  }
  std::set<std::string, std::less<>> holders_;
  std::mutex mutex_;  // commit() and may_run() come from the pool
  std::optional<base::Error> rejection_;
  std::optional<images::CommitOptions> committed_;
  std::string committed_layer_;
};

}  // namespace fakes
