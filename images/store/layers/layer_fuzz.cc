// Any layer blob: raw bytes, or well-formed headers with hostile contents. What converts must give
// back the tar it came from, and be a file system that a reader can walk.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "images/store/layers/layer_converter.h"
#include "images/store/streams/digest.h"
#include "images/store/streams/tar_recipe.h"
#include "images/store/testing/erofs_view.h"
#include "images/store/testing/fuzz_bytes.h"
#include "images/store/testing/tar_builder.h"
#include "vmm/base/unique_fd.h"

namespace images {
namespace {

using testing::FuzzBytes;

std::string any_name(FuzzBytes& input) {
  static const char* const kParts[] = {"a",  "b", "..",           ".",    ".wh.a", ".wh..wh..opq",
                                       "",   "c", "\xff\n",       ".wh.", "d",     "e",
                                       "-.", ".", "a-longer-name"};
  std::string name = input.below(8) == 0 ? "/" : "";
  for (unsigned parts = 1 + input.below(5); parts > 0; --parts) {
    name += kParts[input.below(std::size(kParts))];
    if (parts > 1) name += '/';
  }
  return name;
}

std::string any_tar(FuzzBytes& input) {
  constexpr std::string_view kTypes = "0123456755555000xLKSg\0zV";
  static const char* const kKeys[] = {"path",
                                      "linkpath",
                                      "size",
                                      "mtime",
                                      "uid",
                                      "GNU.sparse.map",
                                      "GNU.sparse.size",
                                      "GNU.sparse.major",
                                      "GNU.sparse.realsize",
                                      "SCHILY.xattr.user.x",
                                      "SCHILY.xattr.security.capability",
                                      "SCHILY.xattr.trusted.overlay.opaque"};
  testing::TarBuilder tar;
  while (!input.empty()) {
    testing::TarMember member{.name = any_name(input), .type = kTypes[input.below(kTypes.size())]};
    member.link = any_name(input);
    member.content = input.text(input.byte());
    member.mode = input.byte() * 16u;
    member.major = input.byte();
    for (unsigned records = input.below(3); records > 0; --records)
      member.pax.emplace_back(kKeys[input.below(std::size(kKeys))],
                              input.below(2) ? any_name(input) : input.text(input.below(40)));
    if (input.below(16) == 0) member.claimed_size = input.text(12);
    tar.add(member);
  }
  return tar.finish();
}

void walk(const testing::ErofsView& view, const testing::ErofsFile& directory, int depth) {
  for (const auto& [name, entry] : view.list(directory)) {
    if (name == "." || name == "..") continue;
    if (name.find('/') != std::string::npos || depth > 64) std::abort();
    const testing::ErofsFile file = view.load(entry.nid);
    if ((file.inode.mode & 0170000u) == 0040000u) walk(view, file, depth + 1);
  }
}

void check(const ConvertedLayer& layer, int image, int recipe) {
  StringSink tar(64u << 20);
  ::lseek(recipe, 0, SEEK_SET);
  if (!rebuild_tar(recipe, image, layer.image_bytes, layer.tar_bytes, tar)) std::abort();
  if (digest_of(std::move(tar).take()) != layer.diff_id) std::abort();
  std::string bytes(layer.image_bytes, '\0');
  if (::pread(image, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    std::abort();
  const testing::ErofsView view(std::move(bytes));
  walk(view, view.root(), 0);
}

}  // namespace
}  // namespace images

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  images::testing::FuzzBytes input(data, size);
  const std::string blob = input.below(4) == 0 ? input.rest() : images::any_tar(input);
  const base::UniqueFd image(::memfd_create("image", MFD_CLOEXEC));
  const base::UniqueFd recipe(::memfd_create("recipe", MFD_CLOEXEC));
  images::SpanSource source(std::as_bytes(std::span(blob)));
  images::FdSink sink(recipe.get());
  const images::LayerLimits limits{
      .tar_bytes = 8u << 20, .image_bytes = 8u << 20, .entries = 2000, .metadata_bytes = 1u << 20};
  const auto layer = images::convert_layer(source, image.get(), sink, limits, {});
  if (layer) images::check(*layer, image.get(), recipe.get());
  return 0;
}
