#include "images/store/values/timestamp.h"

#include <gtest/gtest.h>

namespace images {
namespace {

TEST(Timestamp, ParsesWhatItFormats) {
  for (const std::int64_t ns : {std::int64_t{0}, std::int64_t{1'700'000'000'123'456'789},
                                std::int64_t{-62'135'596} * 1'000'000'000})
    EXPECT_EQ(parse_timestamp(format_timestamp(ns)), ns);
  EXPECT_EQ(format_timestamp(1'714'979'289'000'000'001), "2024-05-06T07:08:09.000000001Z");
}

TEST(Timestamp, ReadsZonesAndFractions) {
  EXPECT_EQ(parse_timestamp("1970-01-01T01:00:00.5+01:00"), 500'000'000);
  EXPECT_EQ(parse_timestamp("1969-12-31T23:30:00-00:30"), 0);
}

TEST(Timestamp, RefusesOtherTexts) {
  for (const char* text : {"", "2024", "2024-13-01T00:00:00Z", "2024-02-30T00:00:00Z",
                           "2024-01-01 00:00:00Z", "2024-01-01T25:00:00Z", "2024-01-01T00:00:00",
                           "2024-01-01T00:00:00.Z", "2024-01-01T00:00:00Zx", "-001-01-01T00:00:00Z",
                           "0001-01-01T00:00:00Z", "9999-01-01T00:00:00Z"})
    EXPECT_FALSE(parse_timestamp(text)) << text;
}

}  // namespace
}  // namespace images
