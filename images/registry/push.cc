// Registries::push: layers - found there, mounted, or made again and sent - then the configuration,
// then a schema 2 manifest.

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>

#include "images/registry/gzip_sink.h"
#include "images/registry/registries.h"

namespace registry {

using base::Code;
using base::Error;
using base::Result;
using images::Reference;
using images::RemoteBlob;

namespace {

/// How many other repositories are asked for a layer before it is sent.
constexpr std::size_t kMaxCandidates = 4;
constexpr std::chrono::milliseconds kReportInterval{100};

Error as_internal(Error error) {
  if (error.code != Code::kNotFound && error.code != Code::kInvalidArgument)
    error.code = Code::kInternal;
  return error;
}

bool is_gzip(const RemoteBlob& blob) {
  return blob.media_type == media::kDockerLayer || blob.media_type == media::kOciGzipLayer;
}

std::string manifest_of(const RemoteBlob& config, const std::vector<RemoteBlob>& layers) {
  using json = nlohmann::ordered_json;
  const auto descriptor = [](std::string_view type, const RemoteBlob& blob) {
    return json{{"mediaType", type}, {"size", blob.bytes}, {"digest", blob.digest}};
  };
  json list = json::array();
  for (const RemoteBlob& layer : layers) list.push_back(descriptor(media::kDockerLayer, layer));
  const json manifest{{"schemaVersion", 2},
                      {"mediaType", media::kDockerManifest},
                      {"config", descriptor(media::kDockerConfig, config)},
                      {"layers", std::move(list)}};
  return manifest.dump(3);
}

/// Counts, and tells now and then, what goes by.
class ReportingSink : public images::ByteSink {
 public:
  ReportingSink(images::ByteSink& sink, std::function<void(std::uint64_t)> report)
      : sink_(sink), report_(std::move(report)) {}

  Result<void> write(std::span<const std::byte> bytes) override {
    total_ += bytes.size();
    const auto now = std::chrono::steady_clock::now();
    if (now - reported_ >= kReportInterval) {
      reported_ = now;
      report_(total_);
    }
    return sink_.write(bytes);
  }

 private:
  images::ByteSink& sink_;
  const std::function<void(std::uint64_t)> report_;
  std::uint64_t total_ = 0;
  std::chrono::steady_clock::time_point reported_;
};

/// Tasks on the upload threads that are waited for together; the first Error stops the others.
class Batch {
 public:
  explicit Batch(const std::stop_token& outer) : follow_(outer, [this] { stop_.request_stop(); }) {}

  void run(WorkQueue& queue, std::function<Result<void>(const StopSignal&)> task) {
    {
      const std::lock_guard lock(mutex_);
      ++running_;
    }
    queue.post([this, task = std::move(task)] {
      Result<void> result = stopped_error();
      {
        const StopSignal stop(stop_.get_token());
        if (!stop.requested()) result = task(stop);
      }
      const std::lock_guard lock(mutex_);
      if (!result) {
        if (!stop_.stop_requested() || !failure_) failure_ = result.error();
        stop_.request_stop();
      }
      --running_;
      changed_.notify_all();
    });
  }

  Result<void> wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return running_ == 0; });
    if (failure_) return *failure_;
    return {};
  }

 private:
  std::stop_source stop_;
  std::stop_callback<std::function<void()>> follow_;
  std::mutex mutex_;  // guards the rest
  std::condition_variable changed_;
  std::size_t running_ = 0;
  std::optional<Error> failure_;
};

}  // namespace

/// One tag, from the image to its manifest.
class Registries::PushOfOne {
 public:
  PushOfOne(Registries& registries, Repository& repository, Reference reference,
            TransferObserver& observer)
      : registries_(registries),
        repository_(repository),
        reference_(std::move(reference)),
        observer_(observer) {}

  Result<void> run(const StopSignal& stop) {
    auto departure = registries_.store_.begin_departure(reference_.familiar());
    if (!departure)
      return Error{departure.error().code, "tag does not exist: " + reference_.familiar()};
    departure_ = *std::move(departure);
    RETURN_IF_ERROR(send_layers(stop));
    auto config = send_config(stop);
    if (!config) return std::move(config).error();
    std::vector<RemoteBlob> layers;
    for (const images::DepartingLayer& layer : departure_->layers())
      layers.push_back(sent_.at(layer.diff_id));
    const std::string manifest = manifest_of(*config, layers);
    const std::string digest = images::digest_of(manifest);
    RETURN_IF_ERROR(
        repository_.put_manifest(reference_.tag(), media::kDockerManifest, manifest, stop));
    // The push has succeeded, even if the store cannot record the name.
    (void)departure_->remember_name(reference_.with_digest(digest));
    observer_.message(
        "", reference_.tag() + ": digest: " + digest + " size: " + std::to_string(manifest.size()));
    observer_.pushed(reference_.tag(), digest, manifest.size());
    return {};
  }

 private:
  Result<void> send_layers(const StopSignal& stop) {
    const auto& layers = departure_->layers();
    std::set<std::string> seen;
    std::vector<std::size_t> order;  // the topmost first, as Docker has it
    for (std::size_t i = layers.size(); i-- > 0;)
      if (seen.insert(layers[i].diff_id).second) order.push_back(i);
    for (const std::size_t i : order)
      observer_.update(short_digest(layers[i].diff_id), "Preparing", 0, 0);
    Batch batch(stop.token());
    for (std::size_t n = 0; n < order.size(); ++n) {
      const std::size_t index = order[n];
      if (n >= kUploads) observer_.update(short_digest(layers[index].diff_id), "Waiting", 0, 0);
      batch.run(registries_.uploads_, [this, index](const StopSignal& task_stop) {
        return send_layer(index, task_stop);
      });
    }
    return batch.wait();
  }

  Result<void> send_layer(std::size_t index, const StopSignal& stop) {
    const images::DepartingLayer& layer = departure_->layers()[index];
    const std::string id = short_digest(layer.diff_id);
    auto found = find_there(index, stop);
    if (!found) return std::move(found).error();
    if (*found) {
      observer_.update(id, "Layer already exists", 0, 0);
      return remember(index, **std::move(found));
    }
    auto mounted = mount(index, stop);
    if (!mounted) return std::move(mounted).error();
    if (*mounted) {
      observer_.update(id, "Mounted from " + images::familiar_repository((*mounted)->repository), 0,
                       0);
      return remember(index, std::move((*mounted)->blob));
    }
    auto sent = repository_.upload(
        [&](images::ByteSink& out) -> Result<void> {
          GzipSink gzip(out);
          ReportingSink counting(gzip, [&](std::uint64_t done) {
            observer_.update(id, "Pushing", done, layer.tar_bytes);
          });
          RETURN_IF_ERROR(departure_->write_layer(index, counting));
          return gzip.finish();
        },
        stop);
    if (!sent) return std::move(sent).error();
    observer_.update(id, "Pushed", 0, 0);
    return remember(index, *std::move(sent));
  }

  /// A form of the layer that the repository has: as it was seen there, or elsewhere.
  Result<std::optional<RemoteBlob>> find_there(std::size_t index, const StopSignal& stop) {
    auto known = departure_->known_blobs(index, reference_.repository());
    if (!known) return std::move(known).error();
    auto elsewhere = departure_->known_elsewhere(index, reference_);
    if (!elsewhere) return std::move(elsewhere).error();
    for (auto& one : *elsewhere) known->push_back(std::move(one.blob));
    std::set<std::string> asked;
    for (RemoteBlob& blob : *known) {
      if (!is_gzip(blob) || !asked.insert(blob.digest).second) continue;
      if (asked.size() > kMaxCandidates) break;
      auto size = repository_.find_blob(blob.digest, stop);
      if (!size) return std::move(size).error();
      if (*size && **size == blob.bytes) return std::optional<RemoteBlob>(std::move(blob));
    }
    return std::optional<RemoteBlob>();
  }

  Result<std::optional<images::Departure::KnownElsewhere>> mount(std::size_t index,
                                                                 const StopSignal& stop) {
    auto elsewhere = departure_->known_elsewhere(index, reference_);
    if (!elsewhere) return std::move(elsewhere).error();
    std::size_t tried = 0;
    for (auto& candidate : *elsewhere) {
      if (!is_gzip(candidate.blob)) continue;
      if (++tried > kMaxCandidates) break;
      const std::string path = candidate.repository.substr(reference_.domain().size() + 1);
      auto mounted = repository_.mount_blob(candidate.blob.digest, path, stop);
      // An Error of the mount, such as missing rights there, is no reason to fail: the layer is
      // sent.
      if (stop.requested()) return stopped_error();
      if (mounted && *mounted)
        return std::optional<images::Departure::KnownElsewhere>(std::move(candidate));
    }
    return std::optional<images::Departure::KnownElsewhere>();
  }

  Result<void> remember(std::size_t index, RemoteBlob blob) {
    blob.media_type = media::kDockerLayer;
    (void)departure_->remember_blob(index, reference_.repository(), blob);
    const std::lock_guard lock(mutex_);
    sent_[departure_->layers()[index].diff_id] = std::move(blob);
    return {};
  }

  Result<RemoteBlob> send_config(const StopSignal& stop) {
    const std::string& json = departure_->config_json();
    RemoteBlob config{.digest = departure_->image_id(),
                      .bytes = json.size(),
                      .media_type = std::string(media::kDockerConfig)};
    auto there = repository_.find_blob(config.digest, stop);
    if (!there) return std::move(there).error();
    if (*there && **there == config.bytes) return config;
    auto sent = repository_.upload(
        [&](images::ByteSink& out) { return out.write(std::as_bytes(std::span(json))); }, stop);
    if (!sent) return std::move(sent).error();
    return config;
  }

  Registries& registries_;
  Repository& repository_;
  const Reference reference_;
  TransferObserver& observer_;
  std::unique_ptr<images::Departure> departure_;
  std::mutex mutex_;  // guards sent_
  std::map<std::string, RemoteBlob> sent_;
};

Result<void> Registries::push(const PushRequest& request, TransferObserver& observer,
                              std::stop_token token) {
  const StopSignal stop(std::move(token));
  const Reference& reference = request.reference;
  if (!reference.digest().empty())
    return Error{Code::kInvalidArgument, "cannot push a digest reference"};
  observer.message("", "The push refers to repository [" + reference.repository() + "]");
  auto names = store_.names_in(reference.repository());
  if (!names) return std::move(names).error();
  if (names->empty())
    return Error{Code::kNotFound, "An image does not exist locally with the tag: " +
                                      reference.familiar_repository()};
  std::vector<Reference> wanted;
  for (const Reference& name : *names)
    if (name.digest().empty() && (reference.tag().empty() || reference.tag() == name.tag()))
      wanted.push_back(name);
  if (wanted.empty())
    return Error{Code::kNotFound, reference.tag().empty()
                                      ? "no tags to push for " + reference.familiar_repository()
                                      : "tag does not exist: " + reference.familiar()};
  auto repository = connect(
      reference, request.credentials, true, [](Repository&) { return Result<void>(); }, stop);
  if (!repository) return as_internal(repository.error());
  for (const Reference& one : wanted)
    if (auto pushed = PushOfOne(*this, **repository, one, observer).run(stop); !pushed)
      return as_internal(pushed.error());
  return {};
}

}  // namespace registry
