// What a build is made from: the build context and its Dockerfile.
//
// Threads: reading blocks, so it is called on a pool's thread.
// Trust: the archive, the Dockerfile and what a URL leads to are hostile; sizes are bounded, and
// what is compressed is decompressed in the store's sandbox.
//
// Errors: kInvalidArgument for a bad archive or Dockerfile, kInternal for one that is not there
// (Docker's code), kResourceExhausted for what is too large.
#pragma once

#include <stop_token>
#include <string>

#include "api/docker/build/copy_sources.h"
#include "images/dockerfile/instructions.h"
#include "images/registry/registries.h"
#include "images/store/store.h"

namespace docker::build {

struct BuildInput {
  TreePtr context;
  dockerfile::Dockerfile dockerfile;
};

/// Where the files of a build come from, and what it needs to read them.
struct InputPlace {
  images::Store& store;
  std::string directory;   // for spool files
  std::string dockerfile;  // its path in the context
};

/// From an archive, compressed or not, that the first `bytes` of `file` are.
base::Result<BuildInput> read_input(const InputPlace& place, base::UniqueFd file,
                                    std::uint64_t bytes, const std::stop_token& stop);

/// From what a URL leads to: an archive, or a Dockerfile alone, whose context then is empty.
base::Result<BuildInput> fetch_input(const InputPlace& place, registry::Registries& web,
                                     const registry::Url& url, std::stop_token stop);

/// A build's `remote`. kNotSupported for a repository.
base::Result<registry::Url> parse_remote(const std::string& text);

}  // namespace docker::build
