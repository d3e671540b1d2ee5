// What a build is made from: the build context and its Dockerfile.
//
// Threads: reading blocks, so it is called on a pool's thread.
// Trust: the archive, the Dockerfile and what a URL leads to are hostile; sizes are bounded, and
// what is compressed is decompressed in the store's sandbox.
//
// Errors: kInvalidArgument for a bad archive or Dockerfile, kInternal for a Dockerfile that is not
// there (Docker's code for that), kResourceExhausted for what is too large.
#pragma once

#include <stop_token>
#include <string>

#include "api/engine/build/sources/copy_sources.h"
#include "images/dockerfile/instructions.h"
#include "images/registry/registries.h"
#include "images/store/store.h"

namespace engine::build {

struct BuildInput {
  TreePtr context;
  dockerfile::Dockerfile dockerfile;
};

/// What reading the input of a build needs.
struct InputPlace {
  images::Store& store;
  std::string directory;   // for spool files
  std::string dockerfile;  // its path in the context
};

/// Reads it from an archive, compressed or not, that the first `bytes` of `file` are.
base::Result<BuildInput> read_input(const InputPlace& place, base::UniqueFd file,
                                    std::uint64_t bytes, const std::stop_token& stop);

/// Reads it from what a URL leads to: an archive, or a Dockerfile alone; the context is empty then.
base::Result<BuildInput> fetch_input(const InputPlace& place, registry::Registries& web,
                                     const registry::Url& url, std::stop_token stop);

/// Reads a build's `remote` as a URL. kNotSupported for a repository.
base::Result<registry::Url> parse_remote(const std::string& text);

}  // namespace engine::build
