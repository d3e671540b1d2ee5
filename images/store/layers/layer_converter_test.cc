#include "images/store/layers/layer_converter.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "images/store/streams/digest.h"
#include "images/store/streams/tar_recipe.h"
#include "images/store/testing/erofs_view.h"
#include "images/store/testing/tar_builder.h"
#include "vmm/base/unique_fd.h"

namespace images {
namespace {

using base::Code;
using testing::ErofsView;
using testing::TarBuilder;

std::string read_all(int fd) {
  std::string text(static_cast<std::size_t>(::lseek(fd, 0, SEEK_END)), '\0');
  EXPECT_EQ(::pread(fd, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  return text;
}

std::string gzip(const std::string& text) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

class LayerConverterTest : public ::testing::Test {
 protected:
  base::Result<ConvertedLayer> convert(const std::string& blob) {
    image_.reset(::memfd_create("image", MFD_CLOEXEC));
    recipe_.reset(::memfd_create("recipe", MFD_CLOEXEC));
    SpanSource source(std::as_bytes(std::span(blob)));
    FdSink recipe(recipe_.get());
    return convert_layer(source, image_.get(), recipe, limits_, {});
  }

  ErofsView view(const std::string& blob) {
    auto layer = convert(blob);
    if (!layer) throw std::runtime_error(layer.error().message);
    return ErofsView(read_all(image_.get()));
  }

  base::Error error(const std::string& blob) {
    auto layer = convert(blob);
    EXPECT_FALSE(layer);
    return layer ? base::Error{} : layer.error();
  }

  std::string rebuild(const ConvertedLayer& layer) {
    ::lseek(recipe_.get(), 0, SEEK_SET);
    StringSink sink(1u << 30);
    auto done = rebuild_tar(recipe_.get(), image_.get(), layer.image_bytes, layer.tar_bytes, sink);
    EXPECT_TRUE(done) << (done ? "" : done.error().message);
    return std::move(sink).take();
  }

  LayerLimits limits_;
  base::UniqueFd image_;
  base::UniqueFd recipe_;
};

TEST_F(LayerConverterTest, KeepsContentsAndAttributesOfFiles) {
  const std::string content(10'000, 'x');
  const ErofsView fs = view(TarBuilder()
                                .directory("etc")
                                .add({.name = "etc/shadow",
                                      .content = content,
                                      .mode = 04640,
                                      .uid = 100'000,
                                      .gid = 42,
                                      .mtime = 1'234'567'890})
                                .file("empty", "")
                                .finish());

  const testing::ErofsFile file = fs.find("etc/shadow");
  EXPECT_EQ(file.data, content);
  EXPECT_EQ(file.inode.mode, S_IFREG | 04640);
  EXPECT_EQ(file.inode.uid, 100'000u);
  EXPECT_EQ(file.inode.gid, 42u);
  EXPECT_EQ(file.inode.mtime, 1'234'567'890);
  EXPECT_EQ(file.inode.links, 1u);
  EXPECT_EQ(fs.find("empty").inode.size, 0u);
  EXPECT_EQ(fs.find("etc").inode.links, 2u);
  EXPECT_EQ(fs.root().inode.links, 3u);
}

TEST_F(LayerConverterTest, TellsDigestsAndSizes) {
  const std::string tar = TarBuilder().file("a", "12345").hard_link("b", "a").finish();
  const std::string blob = gzip(tar);

  auto layer = convert(blob);

  ASSERT_TRUE(layer);
  EXPECT_EQ(layer->diff_id, digest_of(tar));
  EXPECT_EQ(layer->blob_digest, digest_of(blob));
  EXPECT_EQ(layer->tar_bytes, tar.size());
  EXPECT_EQ(layer->content_bytes, 5u);
  EXPECT_EQ(layer->image_bytes % 4096, 0u);
  EXPECT_EQ(layer->image_bytes, read_all(image_.get()).size());
}

TEST_F(LayerConverterTest, MakesTheSameImageFromEveryCompression) {
  const std::string tar = TarBuilder().file("a", std::string(300'000, 'q')).finish();

  ASSERT_TRUE(convert(tar));
  const std::string plain = read_all(image_.get());
  ASSERT_TRUE(convert(gzip(tar)));
  EXPECT_EQ(read_all(image_.get()), plain);
  ASSERT_TRUE(convert(zstd(tar)));
  EXPECT_EQ(read_all(image_.get()), plain);
  ASSERT_TRUE(convert(gzip(tar.substr(0, 1000)) + gzip(tar.substr(1000))));
  EXPECT_EQ(read_all(image_.get()), plain);
}

TEST_F(LayerConverterTest, RebuildsTheTarByteForByte) {
  std::string noise(700'001, '\0');
  for (std::size_t i = 0; i < noise.size(); ++i) noise[i] = static_cast<char>(i * 7919 >> 5);
  const std::string tar = TarBuilder()
                              .directory("d")
                              .add({.name = "d/f", .content = noise, .pax = {{"comment", "kept"}}})
                              .file("d/f", "again")
                              .symlink("l", "d/f")
                              .file(".wh.gone", "a whiteout with content")
                              .finish() +
                          std::string(9000, '\0') + "and what follows the end";

  auto layer = convert(tar);

  ASSERT_TRUE(layer);
  EXPECT_EQ(rebuild(*layer), tar);
}

TEST_F(LayerConverterTest, RefusesToRebuildFromADamagedRecipe) {
  auto layer = convert(TarBuilder().file("a", std::string(5000, 'a')).finish());
  ASSERT_TRUE(layer);
  StringSink sink(1u << 20);

  ::lseek(recipe_.get(), 0, SEEK_SET);
  auto short_image = rebuild_tar(recipe_.get(), image_.get(), 4096, layer->tar_bytes, sink);
  ASSERT_EQ(::ftruncate(recipe_.get(), 30), 0);
  ::lseek(recipe_.get(), 0, SEEK_SET);
  auto cut = rebuild_tar(recipe_.get(), image_.get(), layer->image_bytes, layer->tar_bytes, sink);

  EXPECT_FALSE(short_image);
  EXPECT_FALSE(cut);
}

TEST_F(LayerConverterTest, WritesHardLinksAsOneInode) {
  const ErofsView fs = view(TarBuilder()
                                .file("a", "x")
                                .directory("d")
                                .hard_link("d/b", "a")
                                .hard_link("c", "/d/b")
                                .finish());

  EXPECT_EQ(fs.find("a").nid, fs.find("d/b").nid);
  EXPECT_EQ(fs.find("a").nid, fs.find("c").nid);
  EXPECT_EQ(fs.find("a").inode.links, 3u);
}

TEST_F(LayerConverterTest, KeepsDevicesFifosAndLinks) {
  const ErofsView fs =
      view(TarBuilder()
               .add({.name = "tty", .type = '3', .mode = 0620, .major = 5, .minor = 0})
               .add({.name = "disk", .type = '4', .major = 259, .minor = 70'000})
               .add({.name = "pipe", .type = '6'})
               .symlink("out", "../../outside")
               .finish());

  EXPECT_EQ(fs.find("tty").inode.mode, S_IFCHR | 0620);
  EXPECT_EQ(fs.find("tty").inode.block_or_device, 5u << 8);
  EXPECT_EQ(fs.find("disk").inode.block_or_device,
            (70'000u & 0xff) | 259u << 8 | (70'000u & ~0xffu) << 12);
  EXPECT_EQ(fs.find("pipe").inode.mode & S_IFMT, static_cast<unsigned>(S_IFIFO));
  EXPECT_EQ(fs.find("out").data, "../../outside");
}

TEST_F(LayerConverterTest, KeepsExtendedAttributes) {
  const std::string capability("\1\0\0\2\0\40\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  const ErofsView fs = view(TarBuilder()
                                .add({.name = "ping",
                                      .content = "x",
                                      .pax = {{"SCHILY.xattr.security.capability", capability},
                                              {"SCHILY.xattr.user.note", std::string(5000, 'n')},
                                              {"SCHILY.xattr.trusted.overlay.redirect", "/etc"},
                                              {"SCHILY.xattr.com.apple.quarantine", "1"}}})
                                .finish());

  const auto xattrs = fs.find("ping").xattrs;
  EXPECT_EQ(xattrs.size(), 2u);
  EXPECT_EQ(xattrs.at("security.capability"), capability);
  EXPECT_EQ(xattrs.at("user.note"), std::string(5000, 'n'));
}

TEST_F(LayerConverterTest, ReadsPaxNamesTimesAndNumbers) {
  const std::string name = "\377not utf-8/" + std::string(200, 'n');
  const ErofsView fs = view(TarBuilder()
                                .add({.name = "short",
                                      .content = "x",
                                      .pax = {{"path", name},
                                              {"mtime", "-1.25"},
                                              {"uid", "4000000000"},
                                              {"gid", "70000"}}})
                                .finish());

  const auto file = fs.find(name);
  EXPECT_EQ(file.inode.mtime, -2);
  EXPECT_EQ(file.inode.mtime_nanoseconds, 750'000'000u);
  EXPECT_EQ(file.inode.uid, 4'000'000'000u);
  EXPECT_EQ(file.inode.gid, 70'000u);
}

TEST_F(LayerConverterTest, ReadsGnuLongNamesAndLinks) {
  const std::string name = std::string(150, 'a') + "/" + std::string(150, 'b');
  const std::string target(300, 't');
  const ErofsView fs = view(TarBuilder()
                                .add({.name = "././@LongLink", .type = 'L', .content = name + '\0'})
                                .add({.name = "././@LongLink", .type = 'K', .content = target})
                                .symlink("cut", "cut")
                                .finish());

  EXPECT_EQ(fs.find(name).data, target);
}

TEST_F(LayerConverterTest, TurnsWhiteoutsIntoOverlayOnes) {
  const ErofsView fs = view(TarBuilder()
                                .directory("d")
                                .file("d/.wh.gone", "")
                                .directory("opaque")
                                .file("opaque/.wh..wh..opq", "")
                                .file("opaque/new", "n")
                                .file(".wh..wh.plnk", "")
                                .finish());

  EXPECT_EQ(fs.find("d/gone").inode.mode, S_IFCHR);
  EXPECT_EQ(fs.find("d/gone").inode.block_or_device, 0u);
  EXPECT_EQ(fs.find("opaque").xattrs.at("trusted.overlay.opaque"), "y");
  EXPECT_TRUE(fs.contains("opaque/new"));
  EXPECT_EQ(fs.list(fs.root()).size(), 4u);  // ".", "..", "d", "opaque"
}

TEST_F(LayerConverterTest, KeepsWhatIsInTheSameLayerAsItsWhiteout) {
  const ErofsView fs = view(TarBuilder()
                                .directory("a")
                                .file("a/x", "1")
                                .file(".wh.a", "")
                                .file(".wh.b", "")
                                .file("b/x", "2")
                                .file(".wh.c", "")
                                .file("c", "3")
                                .finish());

  EXPECT_EQ(fs.find("a/x").data, "1");
  EXPECT_EQ(fs.find("a").xattrs.at("trusted.overlay.opaque"), "y");
  EXPECT_EQ(fs.find("b/x").data, "2");
  EXPECT_EQ(fs.find("b").xattrs.at("trusted.overlay.opaque"), "y");
  EXPECT_EQ(fs.find("c").data, "3");
}

TEST_F(LayerConverterTest, LetsLaterEntriesReplaceEarlierOnes) {
  const ErofsView fs = view(TarBuilder()
                                .file("f", "old")
                                .file("f", "new")
                                .directory("d")
                                .file("d/x", "x")
                                .add({.name = "./d/", .type = '5', .mode = 0700})
                                .directory("e")
                                .file("e/x", "x")
                                .symlink("e", "f")
                                .finish());

  EXPECT_EQ(fs.find("f").data, "new");
  EXPECT_EQ(fs.find("d").inode.mode, S_IFDIR | 0700);
  EXPECT_EQ(fs.find("d/x").data, "x");
  EXPECT_EQ(fs.find("e").data, "f");
}

TEST_F(LayerConverterTest, FollowsLinksInParentsOnlyInsideTheLayer) {
  const ErofsView fs = view(TarBuilder()
                                .symlink("lib", "usr/lib")
                                .file("lib/x", "1")
                                .symlink("out", "../../../../tmp")
                                .file("out/y", "2")
                                .symlink("abs", "/etc")
                                .file("abs/z", "3")
                                .finish());

  EXPECT_EQ(fs.find("usr/lib/x").data, "1");
  EXPECT_EQ(fs.find("tmp/y").data, "2");
  EXPECT_EQ(fs.find("etc/z").data, "3");
}

TEST_F(LayerConverterTest, TakesAbsoluteNamesFromTheRootOfTheLayer) {
  const ErofsView fs = view(TarBuilder().file("/etc/../a", "1").file("/../b", "2").finish());

  EXPECT_EQ(fs.find("a").data, "1");
  EXPECT_EQ(fs.find("b").data, "2");
}

TEST_F(LayerConverterTest, RefusesNamesThatEscape) {
  for (const char* name : {"../x", "a/../../x", "..", "./../x"}) {
    const base::Error refused = error(TarBuilder().file(name, "x").finish());
    EXPECT_EQ(refused.code, Code::kInvalidArgument) << name;
  }
}

TEST_F(LayerConverterTest, RefusesHardLinksToWhatIsNotThere) {
  for (const char* target : {"../../etc/shadow", "/etc/shadow", "missing", "d", ""}) {
    const base::Error refused = error(TarBuilder().directory("d").hard_link("h", target).finish());
    EXPECT_EQ(refused.code, Code::kInvalidArgument) << target;
  }
}

TEST_F(LayerConverterTest, RefusesFilesUsedAsDirectories) {
  EXPECT_EQ(error(TarBuilder().file("f", "x").file("f/g", "x").finish()).code,
            Code::kInvalidArgument);
  EXPECT_EQ(error(TarBuilder().file(".", "x").finish()).code, Code::kInvalidArgument);
}

TEST_F(LayerConverterTest, RefusesLoopsOfLinks) {
  const base::Error refused =
      error(TarBuilder().symlink("a", "b").symlink("b", "a").file("a/x", "x").finish());

  EXPECT_EQ(refused.code, Code::kInvalidArgument);
}

TEST_F(LayerConverterTest, RefusesWhiteoutsOfDots) {
  for (const char* name : {".wh.", ".wh..", ".wh...", "d/.wh..."})
    EXPECT_EQ(error(TarBuilder().file(name, "").finish()).code, Code::kInvalidArgument) << name;
}

TEST_F(LayerConverterTest, RefusesNamesTooLongForAnyFilesystem) {
  const std::string component(256, 'n');
  const std::string deep = [] {
    std::string path;
    while (path.size() < 5000) path += "d/";
    return path;
  }();

  EXPECT_EQ(error(TarBuilder().add({.name = "x", .pax = {{"path", component}}}).finish()).code,
            Code::kInvalidArgument);
  EXPECT_EQ(error(TarBuilder().add({.name = "x", .pax = {{"path", deep}}}).finish()).code,
            Code::kInvalidArgument);
}

TEST_F(LayerConverterTest, RefusesAbsurdSizesWithoutBelievingThem) {
  for (const std::string& size :
       {std::string("77777777777"), std::string("\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", 12),
        std::string(12, '\xff')}) {
    const base::Error refused = error(
        TarBuilder().add({.name = "huge", .content = "small", .claimed_size = size}).finish());
    EXPECT_NE(refused.message, "");
  }
}

TEST_F(LayerConverterTest, RefusesTruncatedStreams) {
  const std::string tar = TarBuilder().file("a", std::string(3000, 'a')).file("b", "b").finish();
  for (const std::size_t length : {100u, 513u, 2000u, 3583u, 3584u + 100u})
    EXPECT_EQ(error(tar.substr(0, length)).code, Code::kDataLoss) << length;
  const std::string compressed = gzip(tar);
  EXPECT_EQ(error(compressed.substr(0, compressed.size() / 2)).code, Code::kDataLoss);
}

TEST_F(LayerConverterTest, RefusesGarbage) {
  EXPECT_EQ(error(std::string(4096, 'g')).code, Code::kInvalidArgument);
  EXPECT_EQ(error("\x1f\x8b\x08 this is no gzip").code, Code::kInvalidArgument);
  EXPECT_FALSE(convert(gzip(TarBuilder().finish()) + "garbage"));
}

TEST_F(LayerConverterTest, StopsAtItsLimits) {
  limits_.entries = 10;
  TarBuilder many;
  for (int i = 0; i < 11; ++i) many.file("f" + std::to_string(i), "");
  EXPECT_EQ(error(many.finish()).code, Code::kResourceExhausted);

  limits_ = {};
  limits_.tar_bytes = 100'000;
  EXPECT_EQ(error(gzip(TarBuilder().file("bomb", std::string(1 << 20, '\0')).finish())).code,
            Code::kResourceExhausted);

  limits_ = {};
  limits_.image_bytes = 100'000;
  EXPECT_EQ(error(TarBuilder().file("big", std::string(200'000, 'b')).finish()).code,
            Code::kResourceExhausted);

  limits_ = {};
  limits_.metadata_bytes = 20'000;
  TarBuilder names;
  for (int i = 0; i < 100; ++i) names.directory("d" + std::to_string(i));
  EXPECT_EQ(error(names.finish()).code, Code::kResourceExhausted);
}

TEST_F(LayerConverterTest, KeepsSparseFilesSparse) {
  // pax format 1.0: the map is in the data.
  std::string map = "2\n8388608\n5\n16777216\n0\n";
  map.resize(512);
  const std::string tar = TarBuilder()
                              .add({.name = "GNUSparseFile.0/x",
                                    .content = map + "hello",
                                    .pax = {{"GNU.sparse.major", "1"},
                                            {"GNU.sparse.minor", "0"},
                                            {"GNU.sparse.name", "sparse"},
                                            {"GNU.sparse.realsize", "16777216"}}})
                              .finish();

  auto layer = convert(tar);

  ASSERT_TRUE(layer) << layer.error().message;
  struct stat status {};
  ASSERT_EQ(::fstat(image_.get(), &status), 0);
  EXPECT_LT(status.st_blocks * 512, 1 << 20);
  EXPECT_EQ(rebuild(*layer), tar);
  const ErofsView fs{read_all(image_.get())};
  const std::string data = fs.find("sparse").data;
  EXPECT_EQ(data.size(), 16'777'216u);
  EXPECT_EQ(data.substr(8'388'608, 5), "hello");
}

TEST_F(LayerConverterTest, TakesFilesBeyondFourGibibytes) {
  const std::uint64_t size = std::uint64_t{6} << 30;
  const std::string needle(4096, 'n');
  const std::string tar =
      TarBuilder()
          .add({.name = "huge",
                .content = needle,
                .pax = {{"GNU.sparse.map", std::to_string(std::uint64_t{5} << 30) + ",4096"},
                        {"GNU.sparse.size", std::to_string(size)}}})
          .file("after", "it")
          .finish();

  const auto layer = convert(tar);

  ASSERT_TRUE(layer) << layer.error().message;
  EXPECT_EQ(layer->content_bytes, size + 2);
  EXPECT_GT(layer->image_bytes, size);
  struct stat status {};
  ASSERT_EQ(::fstat(image_.get(), &status), 0);
  EXPECT_LT(status.st_blocks * 512, 1 << 20);
  EXPECT_EQ(rebuild(*layer), tar);
  // The needle lies five gibibytes after the file's beginning, wherever that is.
  bool found = false;
  for (off_t at = ::lseek(image_.get(), off_t{5} << 30, SEEK_DATA); at >= 0 && !found;
       at = ::lseek(image_.get(), at + 4096, SEEK_DATA)) {
    std::string block(4096, '\0');
    ASSERT_EQ(::pread(image_.get(), block.data(), block.size(), at), 4096);
    found = block == needle;
  }
  EXPECT_TRUE(found);
}

TEST_F(LayerConverterTest, RefusesSparseMapsThatLie) {
  const auto sparse = [](const std::string& map, const std::string& size) {
    return TarBuilder()
        .add({.name = "x",
              .content = "hello",
              .pax = {{"GNU.sparse.map", map}, {"GNU.sparse.size", size}}})
        .finish();
  };
  EXPECT_TRUE(convert(sparse("0,5", "100")));
  for (const char* map : {"0,5,3,0", "96,5", "0,4", "0,6", "5", "18446744073709551615,5", "x,5"})
    EXPECT_EQ(error(sparse(map, "100")).code, Code::kInvalidArgument) << map;
  EXPECT_EQ(error(sparse("0,5", "9223372036854775807")).code, Code::kResourceExhausted);
}

TEST_F(LayerConverterTest, WritesDirectoriesOfManyBlocks) {
  TarBuilder tar;
  for (int i = 0; i < 2000; ++i) tar.file("d/a-name-of-some-length-" + std::to_string(i), "x");
  for (const char* odd : {"d/!", "d/-", "d/.-between", "d/...", "d/..x", "d/.hidden"})
    tar.file(odd, "y");
  const ErofsView fs = view(tar.finish());

  const auto entries = fs.list(fs.find("d"));

  EXPECT_EQ(entries.size(), 2008u);
  EXPECT_EQ(entries.at(".").nid, fs.find("d").nid);
  EXPECT_EQ(entries.at("..").nid, fs.root().nid);
  EXPECT_EQ(fs.find("d/.-between").data, "y");
}

TEST_F(LayerConverterTest, WritesSymlinksOfEveryLength) {
  TarBuilder tar;
  for (std::size_t length = 1; length < 4096; length += 13)
    tar.add({.name = "l" + std::to_string(length),
             .type = '2',
             .pax = {{"linkpath", std::string(length, 't')}}});
  const ErofsView fs = view(tar.finish());

  for (std::size_t length = 1; length < 4096; length += 13)
    ASSERT_EQ(fs.find("l" + std::to_string(length)).data, std::string(length, 't'));
}

TEST_F(LayerConverterTest, PassesFsckErofs) {
  TarBuilder tar;
  for (std::size_t i = 0; i < 1000; ++i)
    tar.file("d/file" + std::to_string(i), std::string(i * 10, 'x'));
  tar.symlink("l", "d")
      .hard_link("h", "d/file7")
      .add({.name = "x", .content = "x", .pax = {{"SCHILY.xattr.user.a", std::string(4000, 'v')}}});
  ASSERT_TRUE(convert(tar.finish()));
  if (::access("/usr/bin/fsck.erofs", X_OK) != 0) GTEST_SKIP() << "erofs-utils is not installed";

  const std::string path =
      "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(image_.get());
  EXPECT_EQ(std::system(("/usr/bin/fsck.erofs --extract " + path + " >/dev/null").c_str()), 0);
}

TEST_F(LayerConverterTest, MakesAnEmptyFilesystemFromAnEmptyTar) {
  const ErofsView fs = view(TarBuilder().finish());

  EXPECT_EQ(fs.list(fs.root()).size(), 2u);
  EXPECT_EQ(fs.root().inode.mode, S_IFDIR | 0755);
}

}  // namespace
}  // namespace images
