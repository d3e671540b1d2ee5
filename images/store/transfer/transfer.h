// Arrival, Departure: what the client of registries needs of the store: an image arrives piece by
// piece, or leaves so. Store::begin_arrival() and Store::begin_departure() make them.
//
// Threads: an object may be used from several threads at once; it must not outlive its Store.
// Trust: blobs and configurations are hostile; digests are compared here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "images/store/streams/byte_source.h"
#include "images/store/values/origin.h"
#include "images/store/values/reference.h"
#include "images/store/values/remote_blob.h"
#include "vmm/base/result.h"

namespace images {

/// An image that was fetched; its layers are in the Arrival.
struct ArrivedImage {
  std::string config_json;
  std::vector<RemoteBlob> blobs;  // as many as the configuration has layers, in that order
  std::string repository;         // "docker.io/library/busybox"
  std::vector<Reference> names;   // tags and digests that point to it from now on
  Origin origin;                  // StoreOptions::admission decides by it
};

/// Keeps the layers of an image while it arrives. When the Arrival goes, layers that no image has
/// are deleted.
class Arrival {
 public:
  virtual ~Arrival() = default;
  /// Whether the layer is there already; if so, it is kept.
  virtual base::Result<bool> has_layer(std::string_view diff_id) = 0;
  /// Reads `blob`, plain or compressed, to its end and converts it as it comes, without a copy of
  /// it on disk. kDataLoss if a digest does not match.
  virtual base::Result<void> add_layer(ByteSource& blob, std::string_view blob_digest,
                                       std::string_view diff_id) = 0;
  /// Makes the image in one step and returns its ID. Every layer must have been added or found.
  virtual base::Result<std::string> commit(const ArrivedImage& image) = 0;
};

struct DepartingLayer {
  std::string diff_id;
  std::uint64_t tar_bytes = 0;
};

/// Keeps an image's layers while it is sent.
class Departure {
 public:
  virtual ~Departure() = default;
  virtual const std::string& image_id() const = 0;
  virtual const std::string& config_json() const = 0;
  virtual const std::vector<DepartingLayer>& layers() const = 0;  // lowest first
  /// Writes the layer's exact tar stream; kDataLoss if its digest is not the layer's diff ID.
  virtual base::Result<void> write_layer(std::size_t index, ByteSink& sink) = 0;
  /// The forms in which `repository` has been seen to have the layer, newest first.
  virtual base::Result<std::vector<RemoteBlob>> known_blobs(std::size_t index,
                                                            std::string_view repository) = 0;
  struct KnownElsewhere {
    std::string repository;
    RemoteBlob blob;
  };
  /// The same for other repositories of the registry `domain`.
  virtual base::Result<std::vector<KnownElsewhere>> known_elsewhere(
      std::size_t index, const Reference& repository) = 0;
  virtual base::Result<void> remember_blob(std::size_t index, std::string_view repository,
                                           const RemoteBlob& blob) = 0;
  /// Adds a name of the image: the digest under which the registry has it.
  virtual base::Result<void> remember_name(const Reference& name) = 0;
};

}  // namespace images
