#include "api/machines/layer_places.h"

#include <gtest/gtest.h>

#include "vmm/base/units.h"

namespace engine {
namespace {

using namespace base;  // NOLINT: the unit literals

constexpr std::uint64_t kWindow = launch::kLayersWindowBytes;

TEST(LayerPlacesTest, PutsLayersIntoTheWindowOneAfterTheOther) {
  const auto places = place_layers(1, {{"a", 8_KiB}, {"b", 5_MiB}, {"c", 4_KiB}}, true);

  ASSERT_EQ(places.size(), 3u);
  EXPECT_EQ(places[0].offset, 0u);
  EXPECT_EQ(places[1].offset, 2_MiB);
  EXPECT_EQ(places[2].offset, 8_MiB);
  EXPECT_EQ(places[1].length, 5_MiB);
  for (const auto& place : places) EXPECT_TRUE(place.in_window);
}

TEST(LayerPlacesTest, PutsOnTheDiskWhatDoesNotFit) {
  const auto places =
      place_layers(1, {{"a", kWindow - 4_MiB}, {"b", 5_MiB}, {"c", 4_MiB}, {"d", 1_MiB}}, true);

  EXPECT_TRUE(places[0].in_window);
  EXPECT_FALSE(places[1].in_window);
  EXPECT_EQ(places[1].offset, 0u);
  EXPECT_TRUE(places[2].in_window);
  EXPECT_EQ(places[2].offset, kWindow - 4_MiB);
  EXPECT_FALSE(places[3].in_window);
  EXPECT_EQ(places[3].offset, 6_MiB);
}

TEST(LayerPlacesTest, PutsALayerAsLargeAsTheWindowIntoIt) {
  EXPECT_TRUE(place_layers(1, {{"a", kWindow}}, true)[0].in_window);
  EXPECT_FALSE(place_layers(1, {{"a", kWindow + 4_KiB}}, true)[0].in_window);
}

TEST(LayerPlacesTest, PutsOnTheDiskWhatIsNoWholePages) {
  const auto places = place_layers(1, {{"a", 4_KiB + 100}}, true);

  EXPECT_FALSE(places[0].in_window);
  EXPECT_EQ(places[0].length, 4_KiB + 512);
}

TEST(LayerPlacesTest, LeavesTheWindowEmptyWhereItMayNotBeUsed) {
  EXPECT_FALSE(place_layers(1, {{"a", 4_KiB}}, false)[0].in_window);
}

TEST(LayerPlacesTest, GivesEachContainerItsPartOfTheDisk) {
  const auto places = place_layers(3, {{"a", 4_KiB}, {"b", 4_KiB}}, false);

  EXPECT_EQ(places[0].offset, part_of(3).begin);
  EXPECT_EQ(places[1].offset, part_of(3).begin + 2_MiB);
  EXPECT_EQ(part_of(1).begin, 0u);
  EXPECT_EQ(part_of(2).begin, part_of(1).end);
  EXPECT_LE(part_of(kMostContainers).end, launch::kDiskBytes);
}

TEST(VolumePlacesTest, PutsVolumesBehindTheContainersDisk) {
  const auto places = place_volumes(2, std::vector<std::uint64_t>{1_GiB, 512, 4_MiB});

  ASSERT_TRUE(places);
  ASSERT_EQ(places->size(), 3u);
  const std::uint64_t begin = place_own_disk(2).offset + place_own_disk(2).length;
  EXPECT_EQ((*places)[0].offset, begin);
  EXPECT_EQ((*places)[0].length, 1_GiB);
  EXPECT_EQ((*places)[1].offset, begin + 1_GiB);
  EXPECT_EQ((*places)[2].offset, begin + 1_GiB + 2_MiB);
  EXPECT_LE((*places)[2].offset + 4_MiB, part_of(2).end);
}

TEST(VolumePlacesTest, RefusesWhatNoMachineCanHave) {
  const auto code_of = [](std::vector<std::uint64_t> volumes) {
    const auto places = place_volumes(1, volumes);
    return places ? base::Code::kInternal : places.error().code;
  };

  EXPECT_EQ(code_of(std::vector<std::uint64_t>(127, 1_MiB)), base::Code::kResourceExhausted);
  EXPECT_EQ(code_of({protocol::kOwnDiskBytes, 4_MiB}), base::Code::kResourceExhausted);
  EXPECT_EQ(code_of({~std::uint64_t{511}}), base::Code::kResourceExhausted);
  EXPECT_EQ(code_of({0}), base::Code::kDataLoss);
  EXPECT_TRUE(place_volumes(1, std::vector<std::uint64_t>(126, 1_MiB)));
}

}  // namespace
}  // namespace engine
