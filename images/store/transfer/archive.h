// Archive: what a `docker load` stream contains - a docker-archive (manifest.json) or an OCI layout
// (index.json), possibly both in one, of any number of images.
//
// The whole uncompressed archive lies in one spool file; members are ranges of it.
// Spec: OCI image spec, image-layout.md; Docker's image archive format ("manifest.json").
// Trust: everything in it is hostile; memory is bounded by the limits below.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "images/store/layers/layer_process.h"
#include "images/store/values/image_config.h"
#include "images/store/values/reference.h"

namespace images {

class Archive {
 public:
  static constexpr std::size_t kMaxMembers = 100'000;
  static constexpr std::size_t kMaxNameBytes = 16u << 20;  // of all names together

  /// Indexes the tar in `spool`, which outlives the archive.
  static base::Result<Archive> open(FileRange spool);

  bool contains(const std::string& name) const { return members_.contains(name); }
  /// A member by its name, through links inside the archive.
  base::Result<FileRange> find(std::string_view name) const;
  /// The bytes of a small member.
  base::Result<std::string> read(std::string_view name) const;

 private:
  struct Member {
    FileRange range;
    std::string link;  // not empty: another member's name
  };

  std::map<std::string, Member> members_;
};

struct PlannedLayer {
  FileRange blob;
  std::string blob_digest;  // what it must be; empty if the archive does not say
};

/// An image as the archive promises it; diff IDs are not checked yet.
struct PlannedImage {
  std::string config_json;
  ImageConfig config;
  std::vector<PlannedLayer> layers;  // as many as config.diff_ids
  std::vector<Reference> tags;       // each with a tag
};

/// All images of the archive, in its order. An OCI index offers one image in several platforms:
/// this host's is taken. Refuses images for other platforms (kNotSupported).
base::Result<std::vector<PlannedImage>> plan_images(const Archive& archive);

}  // namespace images
