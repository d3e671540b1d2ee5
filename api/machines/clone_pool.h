// ClonePool: a few clones of the default shape, restored but not yet running, so that a start only
// has to attach files and let one run. Clones are made one after another, in the background.
//
// Threads: io_context thread. Lifetime: nothing that it has started outlives it: await close()
// before its destruction. Templates outlives it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "api/machines/clone_machine.h"
#include "api/machines/templates/templates.h"

namespace engine {

class ClonePool {
 public:
  ClonePool(CloneMachine::Context context, Templates& templates, launch::Shape shape,
            std::size_t size)
      : context_(std::move(context)),
        templates_(templates),
        shape_(shape),
        size_(size),
        idle_(context_.executor) {
    idle_.set();
  }

  /// A clone of this shape, if one is ready.
  std::shared_ptr<CloneMachine> take(const launch::Shape& shape);

  std::size_t ready() const { return ready_.size(); }

  /// Begins to make what is missing, the template first, in the background. Failures are logged;
  /// the next call tries again.
  void refill();

  /// Ends what is ready or being made.
  net::awaitable<void> close();

  /// Run directories of pooled clones begin with this.
  static constexpr const char* kNamePrefix = "pool-";

 private:
  static net::awaitable<void> fill(ClonePool* self);
  net::awaitable<base::Result<void>> make_template();
  net::awaitable<base::Result<void>> add_one();

  CloneMachine::Context context_;
  Templates& templates_;
  launch::Shape shape_;
  std::size_t size_;
  std::vector<std::shared_ptr<CloneMachine>> ready_;
  std::uint64_t made_ = 0;
  bool closed_ = false;
  async::Latch idle_;  // no fill() runs
};

}  // namespace engine
