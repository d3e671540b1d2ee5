// What pulls and pushes tell, as the JSON objects that Docker's clients draw their bars from.
#pragma once

#include <memory>

#include "api/docker/images/progress.h"
#include "images/registry/registries.h"

namespace docker {

class JsonTransferObserver final : public registry::TransferObserver {
 public:
  explicit JsonTransferObserver(Progress& progress) : progress_(progress) {}
  void message(std::string_view id, std::string_view text) override;
  void update(std::string_view id, std::string_view action, std::uint64_t current,
              std::uint64_t total) override;
  void pushed(std::string_view tag, std::string_view digest, std::uint64_t size) override;

 private:
  Progress& progress_;
};

}  // namespace docker
