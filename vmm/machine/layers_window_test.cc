#include "vmm/machine/layers_window.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <string_view>

#include "vmm/base/unique_fd.h"
#include "vmm/base/units.h"

namespace machine {
namespace {

using namespace base;  // NOLINT: the unit literals

class LayersWindowTest : public testing::Test {
 protected:
  /// A file of `size` times `letter`.
  static UniqueFd file(char letter, std::size_t size) {
    UniqueFd fd(::memfd_create("layer", MFD_CLOEXEC));
    const std::string text(size, letter);
    EXPECT_EQ(::write(fd.get(), text.data(), size), static_cast<ssize_t>(size));
    return fd;
  }
  std::string_view text(std::size_t offset, std::size_t size) const {
    return {reinterpret_cast<const char*>(window_.bytes().data()) + offset, size};
  }

  LayersWindow window_ = *LayersWindow::create(8_MiB);
};

TEST_F(LayersWindowTest, IsZeroWhereNoLayerIs) {
  const UniqueFd layer = file('a', 8_KiB);

  EXPECT_EQ(text(8_MiB - 4, 4), std::string(4, '\0'));
  ASSERT_TRUE(window_.show(std::array{LayersWindow::Extent{2_MiB, 8_KiB, layer.get()}}));

  EXPECT_EQ(text(2_MiB - 4, 4), std::string(4, '\0'));
  EXPECT_EQ(text(2_MiB + 8_KiB, 4), std::string(4, '\0'));
}

TEST_F(LayersWindowTest, ShowsEachFileAtItsOffset) {
  const UniqueFd low = file('a', 2_MiB);
  const UniqueFd high = file('b', 12_KiB);

  ASSERT_TRUE(window_.show(std::array{LayersWindow::Extent{0, 2_MiB, low.get()},
                                      LayersWindow::Extent{2_MiB, 8_KiB, high.get()}}));

  EXPECT_EQ(text(0, 4), "aaaa");
  EXPECT_EQ(text(2_MiB - 2, 4), "aabb");
  EXPECT_EQ(text(2_MiB + 8_KiB - 2, 4), std::string_view("bb\0\0", 4));
}

TEST_F(LayersWindowTest, SharesThePagesOfTheFile) {
  const UniqueFd layer = file('a', 4_KiB);
  ASSERT_TRUE(window_.show(std::array{LayersWindow::Extent{0, 4_KiB, layer.get()}}));

  ASSERT_EQ(::pwrite(layer.get(), "new", 3, 0), 3);

  EXPECT_EQ(text(0, 4), "newa");
}

TEST_F(LayersWindowTest, RefusesWhatDoesNotFit) {
  const UniqueFd layer = file('a', 4_MiB);
  const auto refused = [&](std::initializer_list<LayersWindow::Extent> extents) {
    const auto shown = window_.show(std::span(extents.begin(), extents.size()));
    return !shown && shown.error().code == Code::kInvalidArgument && text(0, 1)[0] == '\0';
  };

  EXPECT_TRUE(refused({{4_KiB, 4_KiB, layer.get()}}));
  EXPECT_TRUE(refused({{0, 0, layer.get()}}));
  EXPECT_TRUE(refused({{0, 512, layer.get()}}));
  EXPECT_TRUE(refused({{8_MiB, 4_KiB, layer.get()}}));
  EXPECT_TRUE(refused({{6_MiB, 4_MiB, layer.get()}}));
  EXPECT_TRUE(refused({{~std::uint64_t{0} & ~(2_MiB - 1), 4_MiB, layer.get()}}));
  EXPECT_TRUE(refused({{0, 4_MiB, layer.get()}, {2_MiB, 4_KiB, layer.get()}}));
  EXPECT_TRUE(refused({{0, 4_KiB, layer.get()}, {2_MiB, 4_MiB + 4_KiB, layer.get()}}));
}

}  // namespace
}  // namespace machine
