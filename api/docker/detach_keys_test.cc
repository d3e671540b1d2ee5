#include "api/docker/detach_keys.h"

#include <gtest/gtest.h>

#include <string>

namespace docker {
namespace {

/// What passes of `input`, with "!" behind it if it detached.
std::string scan(DetachKeys& keys, std::string_view input) {
  const auto result = keys.scan(std::as_bytes(std::span(input)));
  std::string text(reinterpret_cast<const char*>(result.pass.data()), result.pass.size());
  return text + (result.detach ? "!" : "");
}

TEST(DetachKeys, DetachOnTheDefaultSequence) {
  auto keys = *DetachKeys::parse("");

  EXPECT_EQ(scan(keys, "ab\x10\x11 rest"), "ab!");
}

TEST(DetachKeys, AreFoundAcrossPieces) {
  auto keys = *DetachKeys::parse("ctrl-p,ctrl-q");

  EXPECT_EQ(scan(keys, "a\x10"), "a");
  EXPECT_EQ(scan(keys, "\x11"), "!");
}

TEST(DetachKeys, PassWhatOnlyBeganLikeThem) {
  auto keys = *DetachKeys::parse("");

  EXPECT_EQ(scan(keys, "\x10"), "");
  EXPECT_EQ(scan(keys, "x"), "\x10x");
  EXPECT_EQ(scan(keys, "\x10\x10\x11"), "\x10!");
}

TEST(DetachKeys, MayBeASingleKey) {
  auto keys = *DetachKeys::parse("q");

  EXPECT_EQ(scan(keys, "abq"), "ab!");
}

TEST(DetachKeys, AreRefusedWhenMalformed) {
  for (const char* text : {",", "ctrl-", "ctrl-pp", "ab", "ctrl-p,", "ctrl-1"})
    EXPECT_FALSE(DetachKeys::parse(text)) << text;
}

}  // namespace
}  // namespace docker
