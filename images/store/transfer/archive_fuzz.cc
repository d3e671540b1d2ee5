// Any archive for `docker load`: raw bytes, or a tar whose manifest, index and configuration are
// the fuzzer's. Also names and changes, which come from clients as text.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "images/store/testing/fuzz_bytes.h"
#include "images/store/testing/tar_builder.h"
#include "images/store/transfer/archive.h"
#include "images/store/values/changes.h"
#include "images/store/values/timestamp.h"
#include "vmm/base/unique_fd.h"

namespace images {
namespace {

std::string any_archive(testing::FuzzBytes& input) {
  testing::TarBuilder tar;
  const std::string blob = "blobs/sha256/" + std::string(64, '0');
  const std::string names[] = {"manifest.json", "index.json", "c.json", blob};
  while (!input.empty()) {
    const std::string& name = names[input.below(std::size(names))];
    if (input.below(8) == 0) {
      tar.symlink(name, names[input.below(std::size(names))]);
    } else {
      tar.file(name, input.text(input.byte() * 4u));
    }
  }
  return tar.finish();
}

void read_archive(const std::string& bytes) {
  const base::UniqueFd spool(::memfd_create("archive", MFD_CLOEXEC));
  if (::write(spool.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
    std::abort();
  const auto archive = Archive::open({spool.get(), 0, bytes.size()});
  if (!archive) return;
  const auto planned = plan_images(*archive);
  if (!planned) return;
  for (const PlannedImage& image : *planned)
    if (image.layers.size() != image.config.diff_ids.size()) std::abort();
}

void read_texts(const std::string& text) {
  if (const auto reference = Reference::parse(text)) {
    // What was understood is understood again in its long form, as the same.
    const Reference tagged = reference->with_default_tag();
    const auto again = Reference::parse(tagged.domain() + "/" + tagged.path());
    if (!again || again->repository() != reference->repository()) std::abort();
  }
  (void)apply_changes(nlohmann::json::object(), {text});
  (void)parse_timestamp(text);
  (void)parse_image_config(text);
}

}  // namespace
}  // namespace images

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  images::testing::FuzzBytes input(data, size);
  switch (input.below(3)) {
    case 0:
      images::read_archive(input.rest());
      break;
    case 1:
      images::read_archive(images::any_archive(input));
      break;
    default:
      images::read_texts(input.rest());
  }
  return 0;
}
