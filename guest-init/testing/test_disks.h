// What a test machine's disks hold: two EROFS layers (a busybox with accounts, and one file on top
// of it), an ext4 for each of two containers, and perhaps volumes. Made with the host's mkfs
// programs in a temporary directory.
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
  protocol::PrepareContainer::Disk writable_place;
  std::string further;  // file, of a second container
  protocol::PrepareContainer::Disk further_place;
  struct Volume {
    std::string file;
    protocol::PrepareContainer::Disk place;
  };
  std::vector<Volume> volumes;

  /// Gives each of the files a place behind those of the containers' own.
  void place_volumes(const std::vector<std::string>& files);
  /// The places, as PrepareContainer wants them.
  std::vector<protocol::PrepareContainer::Layer> places() const;
  std::vector<protocol::PrepareContainer::Disk> volume_places() const;
  /// Whether the writable disk and the volumes were unmounted in order and fsck finds no errors.
  bool is_clean() const;
};

base::Result<TestDisks> make_test_disks(const std::string& directory);

/// An empty ext4, as the writable disk and volumes are.
base::Result<void> make_test_volume(const std::string& file, const std::string& size = "64M");

/// Runs a shell command; its output is thrown away.
base::Result<void> run_command(const std::string& command);

}  // namespace guest_init::testing
