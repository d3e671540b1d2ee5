#include "api/engine/settings/mounts/volume_form.h"

#include <gtest/gtest.h>

namespace engine {
namespace {

using base::Code;
using Options = std::map<std::string, std::string>;

std::string message_of(const Options& options) {
  const auto form = volume_form("", options);
  return form ? "accepted" : form.error().message;
}

/// Of a volume that is the directory /srv of the host.
base::Result<VolumeForm> form_with(std::string words, std::string type = "none") {
  return volume_form("local", {{"type", std::move(type)}, {"device", "/srv"}, {"o", words}});
}

TEST(VolumeForm, IsADirectoryOrADisk) {
  EXPECT_EQ(volume_form("", {})->kind, VolumeKind::kDirectory);
  EXPECT_EQ(volume_form("", {{"type", "disk"}})->kind, VolumeKind::kDisk);
  EXPECT_EQ(volume_form("", {{"type", "disk"}})->bytes, 0u);
  EXPECT_EQ(volume_form("local", {{"size", "1g"}})->kind, VolumeKind::kDisk);
  EXPECT_EQ(volume_form("local", {{"size", "1g"}})->bytes, std::uint64_t{1} << 30);
  EXPECT_EQ(volume_form("", {{"type", "disk"}, {"size", "1g"}})->bytes, std::uint64_t{1} << 30);
  EXPECT_FALSE(volume_form("", {{"size", "much"}}));
  EXPECT_EQ(volume_form("nfs", {}).error().code, Code::kNotFound);
}

TEST(VolumeForm, IsADirectoryOfTheHostThatAClientNames) {
  EXPECT_EQ(*form_with("bind"), (VolumeForm{.kind = VolumeKind::kBind, .device = "/srv"}));
  EXPECT_EQ(*form_with("rbind,ro,nosuid,nodev,noexec"),
            (VolumeForm{.kind = VolumeKind::kBind,
                        .device = "/srv",
                        .mounts_below = true,
                        .read_only = true,
                        .restrictions = {.no_setuid = true, .no_devices = true, .no_exec = true}}));
}

TEST(VolumeForm, TakesTheLaterOfTwoWordsThatContradictEachOther) {
  EXPECT_FALSE(form_with("defaults,ro,bind,rw")->read_only);
  EXPECT_TRUE(form_with("bind,rw,ro")->read_only);
}

TEST(VolumeForm, TakesTheTypesThatABindMountIsGiven) {
  for (const char* type : {"none", "bind", ""})
    EXPECT_EQ(form_with("bind", type)->kind, VolumeKind::kBind) << type;
}

TEST(VolumeForm, RefusesOptionsInDockersWords) {
  EXPECT_EQ(message_of({{"x", "y"}, {"type", "none"}}), "invalid option: \"x\"");
  EXPECT_EQ(message_of({{"type", "none"}, {"o", "bind"}}), "missing required option: \"device\"");
  EXPECT_EQ(message_of({{"type", "nfs"}}), "missing required option: \"device\"");
  EXPECT_EQ(message_of({{"o", "size=1g"}}), "missing required option: \"device\"");
  EXPECT_EQ(message_of({{"device", "/srv"}, {"o", "bind"}}), "missing required option: \"type\"");
}

TEST(VolumeForm, SaysWhyItIsOfNoOtherFileSystem) {
  const auto nfs = form_with("addr=192.0.2.1", "nfs");
  const auto tmpfs =
      volume_form("", {{"type", "tmpfs"}, {"device", "tmpfs"}, {"o", "size=100m,uid=1000"}});

  EXPECT_EQ(nfs.error().code, Code::kNotSupported);
  EXPECT_NE(nfs.error().message.find("\"nfs\" are not supported"), std::string::npos);
  EXPECT_NE(nfs.error().message.find("mount it on the host"), std::string::npos);
  EXPECT_EQ(tmpfs.error().code, Code::kNotSupported);
  EXPECT_NE(tmpfs.error().message.find("--tmpfs"), std::string::npos);
}

TEST(VolumeForm, RefusesWordsThatItWouldIgnore) {
  for (const char* word : {"bind,sync", "bind,", "bind,,ro", "bind,rshared", "bind,uid=7"}) {
    const auto form = form_with(word);
    ASSERT_FALSE(form) << word;
    EXPECT_EQ(form.error().code, Code::kNotSupported) << word;
    EXPECT_NE(form.error().message.find("may have bind, rbind, ro"), std::string::npos) << word;
  }
}

TEST(VolumeForm, RefusesWhatDoesNotGoTogether) {
  for (const Options& options :
       {Options{{"type", "disk"}, {"device", "/srv"}}, Options{{"type", "disk"}, {"o", "ro"}},
        Options{{"type", "none"}, {"device", "/srv"}},
        Options{{"type", "none"}, {"device", "/srv"}, {"o", "ro"}},
        Options{{"type", "none"}, {"device", "srv"}, {"o", "bind"}},
        Options{{"type", "none"}, {"device", ""}, {"o", "bind"}},
        Options{{"type", "none"}, {"device", "/srv"}, {"o", "bind"}, {"size", "1g"}}}) {
    const auto form = volume_form("", options);
    ASSERT_FALSE(form);
    EXPECT_EQ(form.error().code, Code::kInvalidArgument) << form.error().message;
  }
}

TEST(VolumeForm, BoundsItsTexts) {
  const auto with_device = [](std::string device) {
    return volume_form("", {{"type", "none"}, {"o", "bind"}, {"device", std::move(device)}});
  };

  EXPECT_TRUE(with_device("/" + std::string(4094, 'a')));
  EXPECT_FALSE(with_device("/" + std::string(4095, 'a')));
  EXPECT_FALSE(with_device(std::string("/srv\0/x", 7)));
  EXPECT_FALSE(form_with("bind" + std::string(4093, ',')));
  EXPECT_LT(form_with(std::string(4096, 'x')).error().message.size(), 600u);
}

}  // namespace
}  // namespace engine
