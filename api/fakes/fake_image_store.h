// FakeImageStore: knows one image, "busybox", without any file. For tests of the API.
#pragma once

#include <array>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>

#include "images/store/store.h"
#include "images/store/streams/decompress.h"
#include "images/store/streams/digest.h"

namespace fakes {

class FakeImageStore final : public images::Store {
 public:
  static constexpr const char* kImageId =
      "sha256:1111111111111111111111111111111111111111111111111111111111111111";

  static constexpr const char* kCommittedId =
      "sha256:2222222222222222222222222222222222222222222222222222222222222222";

  base::Result<images::Image> resolve(std::string_view name) override {
    if (const auto built = built_.find(name); built != built_.end()) return built->second;
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
  base::Result<images::Image> hold(std::string_view holder, std::string_view image) override {
    holders_.emplace(holder);
    return resolve(built_.contains(image) ? image : "busybox");
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
    while (!options.without_layer) {
      const auto got = layer.read(buffer);
      if (!got) return got.error();
      if (*got == 0) break;
      text.append(reinterpret_cast<const char*>(buffer.data()), *got);
    }
    const std::lock_guard lock(mutex_);
    committed_ = options;
    committed_layer_ = std::move(text);
    images::LoadedImage made{.id = kCommittedId, .repo_tags = {}};
    if (keeps_commits) made.id = keep(options);
    if (!options.repository_and_tag.empty()) made.repo_tags = {options.repository_and_tag};
    return made;
  }
  base::Result<std::vector<images::Image>> children(std::string_view parent) override {
    std::vector<images::Image> found;
    for (const auto& [id, image] : built_)
      if (image.parent == parent) found.push_back(image);
    return found;
  }
  base::Result<std::uint64_t> decompress(int in, std::uint64_t offset, std::uint64_t bytes, int out,
                                         std::stop_token) override {
    images::RangeSource source(in, offset, bytes);
    auto plain = images::open_decompressed(source);
    if (!plain) return std::move(plain).error();
    images::FdSink sink(out);
    std::uint64_t total = 0;
    std::array<std::byte, 4096> buffer;
    for (;;) {
      const auto got = (*plain)->read(buffer);
      if (!got) return got.error();
      if (*got == 0) return total;
      total += *got;
      if (auto written = sink.write(std::span(buffer).first(*got)); !written)
        return std::move(written).error();
    }
  }
  base::Result<void> save(const std::vector<std::string>&, images::ByteSink&) override {
    return refused();
  }
  base::Result<std::unique_ptr<images::Arrival>> begin_arrival() override { return refused(); }
  base::Result<std::unique_ptr<images::Departure>> begin_departure(std::string_view) override {
    return refused();
  }
  base::Result<std::vector<images::Reference>> names_in(std::string_view) override {
    return std::vector<images::Reference>();
  }
  base::Result<std::string> tag(std::string_view source, std::string_view target) override {
    if (!built_.contains(source)) return refused();
    tags_.emplace(target, source);
    return std::string(source);
  }
  base::Result<std::vector<images::RemovedItem>> remove(std::string_view name,
                                                        const images::RemoveOptions&) override {
    const auto built = built_.find(name);
    if (built == built_.end()) return refused();
    built_.erase(built);
    return std::vector<images::RemovedItem>();
  }
  base::Result<images::PruneReport> prune(const images::PruneOptions&) override {
    return refused();
  }

  /// From now on no image may run.
  void reject_images(std::string why) {
    const std::lock_guard lock(mutex_);
    rejection_ = base::Error{base::Code::kPermissionDenied, std::move(why)};
  }
  /// Whether every commit makes an image of its own, which is found again.
  bool keeps_commits = false;
  const std::map<std::string, images::Image, std::less<>>& built() const { return built_; }
  const std::map<std::string, std::string>& tags() const { return tags_; }

  std::size_t holders() const { return holders_.size(); }
  /// Of the last commit().
  const std::optional<images::CommitOptions>& committed() const { return committed_; }
  const std::string& committed_layer() const { return committed_layer_; }

 private:
  std::string keep(const images::CommitOptions& options) {
    const nlohmann::json config{
        {"config", nlohmann::json::parse(options.config)},
        {"container_config", nlohmann::json::parse(options.container_config)},
        {"history", {{{"created_by", options.created_by}}}},
        {"rootfs", {{"type", "layers"}, {"diff_ids", nlohmann::json::array()}}}};
    images::Image image;
    image.config_json = config.dump();
    image.id = images::digest_of(image.config_json + std::to_string(built_.size()));
    image.config = *images::parse_image_config(image.config_json);
    image.parent = options.parent;
    built_.emplace(image.id, image);
    return image.id;
  }

  static base::Error refused() {
    return base::Error{base::Code::kNotSupported, "not part of this test"};
  }
  std::set<std::string, std::less<>> holders_;
  std::mutex mutex_;  // commit() and may_run() come from the pool
  std::optional<base::Error> rejection_;
  std::optional<images::CommitOptions> committed_;
  std::string committed_layer_;
  std::map<std::string, images::Image, std::less<>> built_;
  std::map<std::string, std::string> tags_;
};

}  // namespace fakes
