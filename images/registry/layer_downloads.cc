#include "images/registry/layer_downloads.h"

#include <algorithm>
#include <chrono>
#include <optional>

namespace registry {

using base::Result;
using Stage = LayerProgress::Stage;

namespace {

constexpr int kTriesWithWrongBytes = 2;
constexpr std::chrono::milliseconds kReportInterval{100};

}  // namespace

struct LayerDownloads::Job {
  Job(std::shared_ptr<Repository> from, Descriptor what, std::string id)
      : repository(std::move(from)), layer(std::move(what)), diff_id(std::move(id)) {}

  void report(const LayerProgress& now) {
    const std::lock_guard lock(mutex);
    progress = now;
    for (const auto& observer : observers) (*observer)(now);
  }

  const std::shared_ptr<Repository> repository;
  const Descriptor layer;
  const std::string diff_id;
  std::stop_source stop;

  std::mutex mutex;  // guards the rest
  std::condition_variable_any changed;
  LayerProgress progress;
  std::vector<std::shared_ptr<const Observer>> observers;
  std::optional<Result<void>> result;
  // Keeps the layer until those who waited for it keep it themselves; the last of them ends it, not
  // the thread of run(), which may hold the job for longer than the layer's image lives.
  std::unique_ptr<images::Arrival> arrival;
};

namespace {

/// Tells how far the reading of a blob is.
template <typename Job>
class ReportingSource : public images::ByteSource {
 public:
  ReportingSource(BlobReader& reader, Job& job) : reader_(reader), job_(job) {}

  Result<std::size_t> read(std::span<std::byte> out) override {
    auto got = reader_.read(out);
    if (!got) return got;
    const std::uint64_t total = job_.layer.size;
    const auto now = std::chrono::steady_clock::now();
    if (*got == 0) {
      job_.report({Stage::kVerifying, 0, 0});
      job_.report({Stage::kDownloaded, 0, 0});
      job_.report({Stage::kExtracting, total, total});
    } else if (now - reported_ >= kReportInterval || reader_.offset() == total) {
      reported_ = now;
      job_.report({Stage::kDownloading, reader_.offset(), total});
    }
    return got;
  }

 private:
  BlobReader& reader_;
  Job& job_;
  std::chrono::steady_clock::time_point reported_;
};

}  // namespace

LayerDownloads::Ticket::Ticket(std::shared_ptr<Job> job, Observer observer, bool began)
    : job_(std::move(job)),
      observer_(std::make_shared<const Observer>(std::move(observer))),
      began_(began) {}

LayerDownloads::Ticket::~Ticket() {
  if (!job_) return;
  std::unique_ptr<images::Arrival> unneeded;  // goes after the lock, which is not the store's
  const std::lock_guard lock(job_->mutex);
  std::erase(job_->observers, observer_);
  if (!job_->observers.empty()) return;
  job_->stop.request_stop();
  unneeded = std::move(job_->arrival);
}

Result<void> LayerDownloads::Ticket::wait(images::Arrival& arrival, const std::stop_token& stop) {
  std::unique_lock lock(job_->mutex);
  if (!job_->changed.wait(lock, stop, [&] { return job_->result.has_value(); }))
    return stopped_error();
  if (!*job_->result) return job_->result->error();
  lock.unlock();
  auto kept = arrival.has_layer(job_->diff_id);
  if (!kept) return std::move(kept).error();
  if (!*kept)
    return base::Error{base::Code::kInternal, "layer " + job_->diff_id + " is gone again"};
  return {};
}

LayerDownloads::Ticket LayerDownloads::fetch(std::shared_ptr<Repository> repository,
                                             const Descriptor& layer, const std::string& diff_id,
                                             Observer observer) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<Job>& job = jobs_[{layer.digest, diff_id}];
  if (job) {
    const std::lock_guard job_lock(job->mutex);
    // One that is being stopped, or has failed, is of no use to a newcomer.
    if (!job->observers.empty() && (!job->result || *job->result)) {
      Ticket ticket(job, std::move(observer), false);
      job->observers.push_back(ticket.observer_);
      (*ticket.observer_)(job->progress);
      return ticket;
    }
  }
  job = std::make_shared<Job>(std::move(repository), layer, diff_id);
  Ticket ticket(job, std::move(observer), true);
  job->observers.push_back(ticket.observer_);
  queue_.post([this, job] { run(job); });
  return ticket;
}

void LayerDownloads::run(const std::shared_ptr<Job>& job) {
  const StopSignal stop(job->stop.get_token());
  auto arrival = store_.begin_arrival();
  Result<void> result = !arrival           ? Result<void>(arrival.error())
                        : stop.requested() ? Result<void>(stopped_error())
                                           : download(*job, **arrival, stop);
  const std::lock_guard lock(mutex_);
  if (const auto found = jobs_.find({job->layer.digest, job->diff_id});
      found != jobs_.end() && found->second == job)
    jobs_.erase(found);
  {
    const std::lock_guard job_lock(job->mutex);
    if (result && !job->observers.empty()) {
      job->arrival = *std::move(arrival);
      for (const auto& observer : job->observers) (*observer)({Stage::kDone, 0, 0});
    }
    job->result = std::move(result);
  }
  job->changed.notify_all();
}

Result<void> LayerDownloads::download(Job& job, images::Arrival& arrival, const StopSignal& stop) {
  // It may have come from elsewhere while this waited for its turn.
  auto known = arrival.has_layer(job.diff_id);
  if (!known) return std::move(known).error();
  if (*known) return {};
  for (int attempt = 1;; ++attempt) {
    BlobReader reader(*job.repository, job.layer, stop);
    ReportingSource source(reader, job);
    auto added = arrival.add_layer(source, job.layer.digest, job.diff_id);
    if (stop.requested()) return stopped_error();
    const bool wrong = !added && added.error().code == base::Code::kDataLoss;
    if (!wrong || attempt == kTriesWithWrongBytes) return added;
  }
}

}  // namespace registry
