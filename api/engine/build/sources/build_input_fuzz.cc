// What a client sends for a build: the context's archive, .dockerignore and Dockerfile, what COPY
// and ADD name in it, and the URL of another. Refused, or a tree whose files can be read and sent.
#include <cstdlib>
#include <memory>

#include "api/engine/build/sources/build_input.h"
#include "api/engine/build/sources/copy_sources.h"
#include "api/fakes/fake_image_store.h"
#include "images/store/testing/fuzz_bytes.h"
#include "images/store/testing/tar_checksums.h"

namespace registry {

// No registry is reached from here.
base::Result<WebFile> Registries::fetch_file(const Url& /*url*/, images::ByteSink& /*into*/,
                                             const WebProgress& /*progress*/,
                                             std::stop_token /*stop*/) {
  return base::Error{base::Code::kUnavailable, "no network"};
}

}  // namespace registry

namespace {

using engine::build::CopySource;
using images::testing::FuzzBytes;

/// Takes as much as a guest's tool would in a moment: a few bytes can stand for gigabytes of zeros.
class SmallSink final : public images::ByteSink {
 public:
  base::Result<void> write(std::span<const std::byte> bytes) override {
    total_ += bytes.size();
    if (total_ > (1u << 20)) return base::Error{base::Code::kUnavailable, "enough"};
    return {};
  }

 private:
  std::size_t total_ = 0;
};

void copy(images::Store& store, const engine::build::TreePtr& tree, const std::string& name) {
  auto found = engine::build::find_sources(tree, name, false);
  if (!found) return;
  for (const CopySource& source : *found)
    if (source.hash.empty()) std::abort();
  (void)engine::build::hash_of_sources(*found);
  for (const bool extracts : {false, true}) {
    engine::build::CopyPlan plan{.sources = *found,
                                 .destination = "/to/",
                                 .owner = "",
                                 .extracts = extracts,
                                 .spool_directory = "/dev/shm"};
    SmallSink sink;
    (void)engine::build::send_copy(store, plan, sink);
  }
}

void check_paths(const engine::build::FileTree& tree) {
  for (const std::string& path : tree.below("")) {
    if (path.empty() || path.front() == '/' || ("/" + path + "/").find("/../") != std::string::npos)
      std::abort();
    if (tree.find(path) == nullptr) std::abort();
    (void)tree.resolve(path + "/../x");
  }
}

void read_context(FuzzBytes& input) {
  static fakes::FakeImageStore store;
  const std::string dockerfile = input.below(4) == 0 ? input.text(input.below(32)) : "Dockerfile";
  const std::string name = input.text(input.below(24));
  const bool fixes = input.below(4) != 0;
  std::string archive = input.rest();
  if (fixes) images::testing::fix_tar_checksums(archive);
  auto file = engine::build::spool_file("/dev/shm");
  if (!file) __builtin_trap();
  images::FdSink sink(file->get());
  if (!sink.write(std::as_bytes(std::span(archive)))) __builtin_trap();
  const auto read = engine::build::read_input({store, "/dev/shm", dockerfile}, *std::move(file),
                                              archive.size(), {});
  if (!read) return;
  check_paths(*read->context);
  for (const std::string& one : {name, std::string("."), std::string("*")})
    copy(store, read->context, one);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzBytes input(data, size);
  if (input.below(4) == 0) {
    (void)engine::build::parse_remote(input.rest());
  } else {
    read_context(input);
  }
  return 0;
}
