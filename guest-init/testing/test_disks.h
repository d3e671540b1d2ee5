// What a test machine's disks hold: two EROFS layers (a busybox with accounts, and one file on top
// of it) and an ext4. Made with the host's mkfs programs in a temporary directory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "guest-init/protocol/messages.h"
#include "vmm/base/result.h"

namespace guest_init::testing {

struct TestDisks {
  struct Layer {
    std::string file;  // whole pages
    protocol::PrepareContainer::Layer place;
  };
  std::vector<Layer> layers;
  std::string writable;  // file

  /// The places, as PrepareContainer wants them.
  std::vector<protocol::PrepareContainer::Layer> places() const;
  /// Whether the writable disk was unmounted in order and fsck finds no errors.
  bool is_clean() const;
};

base::Result<TestDisks> make_test_disks(const std::string& directory);

/// Runs a shell command; its output is thrown away.
base::Result<void> run_command(const std::string& command);

}  // namespace guest_init::testing
