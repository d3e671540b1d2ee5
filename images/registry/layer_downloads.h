// LayerDownloads: brings layers from registries into the store. However many pulls want a layer, it
// is downloaded once.
//
// A layer is converted while it is downloaded (images::Arrival::add_layer). A download stops when
// nobody wants it any more.
// Threads: fetch() from any; downloads run on threads of this object, observers are called there,
// one at a time for each layer. Tickets must not outlive it.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <vector>

#include "images/registry/repository.h"
#include "images/registry/work_queue.h"
#include "images/store/store.h"

namespace registry {

struct LayerProgress {
  enum class Stage { kWaiting, kDownloading, kVerifying, kDownloaded, kExtracting, kDone };
  Stage stage = Stage::kWaiting;
  std::uint64_t current = 0;
  std::uint64_t total = 0;
};

class LayerDownloads {
 public:
  using Observer = std::function<void(const LayerProgress&)>;

  LayerDownloads(images::Store& store, std::size_t parallel) : store_(store), queue_(parallel) {}

 private:
  struct Job;

 public:
  /// One pull's interest in one layer.
  class Ticket {
   public:
    Ticket(std::shared_ptr<Job> job, Observer observer, bool began);
    Ticket(Ticket&&) noexcept = default;
    Ticket& operator=(Ticket&&) = delete;
    ~Ticket();
    /// Waits until the layer is in the store and `arrival` keeps it. An Error of the download, or
    /// of the stop.
    base::Result<void> wait(images::Arrival& arrival, const std::stop_token& stop);
    /// Whether this ticket began the download, which then uses the repository given for it. False:
    /// it joined one that another pull had begun.
    bool began() const { return began_; }

   private:
    friend class LayerDownloads;
    std::shared_ptr<Job> job_;
    std::shared_ptr<const Observer> observer_;
    bool began_;
  };

  Ticket fetch(std::shared_ptr<Repository> repository, const Descriptor& layer,
               const std::string& diff_id, Observer observer);

 private:
  using Key = std::pair<std::string, std::string>;  // blob digest, diff ID

  void run(const std::shared_ptr<Job>& job);
  base::Result<void> download(Job& job, images::Arrival& arrival, const StopSignal& stop);

  images::Store& store_;
  std::mutex mutex_;  // guards jobs_; taken before a job's own
  std::map<Key, std::shared_ptr<Job>> jobs_;
  WorkQueue queue_;  // last: its threads use the rest
};

}  // namespace registry
