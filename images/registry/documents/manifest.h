// Manifests: what a registry says an image consists of.
//
// Understood: Docker's image manifest, version 2, schema 2 and manifest list; the OCI image
// manifest and index (OCI image spec, manifest.md, image-index.md). Trust: the JSON comes from a
// registry. Sizes, counts and digests are checked for form here; that bytes match a digest is
// checked where they are read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vmm/base/result.h"

namespace registry {

inline constexpr std::size_t kMaxManifestBytes = 4u << 20;

namespace media {
inline constexpr std::string_view kDockerManifest =
    "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr std::string_view kDockerList =
    "application/vnd.docker.distribution.manifest.list.v2+json";
inline constexpr std::string_view kDockerConfig = "application/vnd.docker.container.image.v1+json";
inline constexpr std::string_view kDockerLayer =
    "application/vnd.docker.image.rootfs.diff.tar.gzip";
inline constexpr std::string_view kOciManifest = "application/vnd.oci.image.manifest.v1+json";
inline constexpr std::string_view kOciIndex = "application/vnd.oci.image.index.v1+json";
inline constexpr std::string_view kOciConfig = "application/vnd.oci.image.config.v1+json";
inline constexpr std::string_view kOciGzipLayer = "application/vnd.oci.image.layer.v1.tar+gzip";
}  // namespace media

struct Platform {
  std::string os;
  std::string architecture;
  std::string variant;

  /// "linux/arm64/v8", as Docker's --platform has it; missing parts are this host's.
  static base::Result<Platform> parse(std::string_view text);
  static Platform host();
  std::string text() const;
};

struct Descriptor {
  std::string media_type;
  std::string digest;
  std::uint64_t size = 0;
  std::optional<Platform> platform;
};

struct ImageManifest {
  Descriptor config;
  std::vector<Descriptor> layers;  // lowest first
};

enum class ManifestKind { kImage, kIndex };

/// What the bytes are, by their media type: that of the header, without parameters, and the one
/// inside must agree. `name` is shown in errors. kNotSupported, with a sentence, for schema 1 and
/// for what is no image.
base::Result<ManifestKind> kind_of(std::string_view media_type, std::string_view json,
                                   std::string_view name);

/// kNotSupported for layers that a registry must not have (foreign ones) and for what is no image.
base::Result<ImageManifest> parse_image_manifest(std::string_view json);

/// The entries of a manifest list or an index.
base::Result<std::vector<Descriptor>> parse_index(std::string_view json);

/// The best entry for a platform: kNotFound in Docker's words if there is none.
base::Result<Descriptor> choose_platform(const std::vector<Descriptor>& entries,
                                         const Platform& platform);

/// Whether an image of `offered` is one for `wanted`.
bool matches(const Platform& offered, const Platform& wanted);

}  // namespace registry
