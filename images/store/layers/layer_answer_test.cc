#include "images/store/layers/layer_answer.h"

#include <gtest/gtest.h>

#include <string>

namespace images {
namespace {

const ConvertProgress kNobody;

base::Error error_after(const LayerFailed& failed) {
  LayerAnswer answer(kNobody);
  EXPECT_TRUE(*answer.feed(wire::frame(failed)));
  return answer.take()->error();
}

TEST(LayerAnswerTest, PassesAnErrorOn) {
  const base::Error error = error_after({base::Code::kResourceExhausted, "too large"});

  EXPECT_EQ(error.code, base::Code::kResourceExhausted);
  EXPECT_EQ(error.message, "too large");
}

TEST(LayerAnswerTest, TakesNoCodeThatIsNone) {
  EXPECT_EQ(error_after({static_cast<base::Code>(-1), ""}).code, base::Code::kInternal);
  EXPECT_EQ(error_after({static_cast<base::Code>(99), ""}).code, base::Code::kInternal);
}

TEST(LayerAnswerTest, ShowsAShortAndPrintableMessage) {
  const base::Error error =
      error_after({base::Code::kInternal, "a\x1b[2Jb\n" + std::string(1u << 20, 'x')});

  EXPECT_EQ(error.message.substr(0, 7), "a [2Jb ");
  EXPECT_EQ(error.message.size(), kMaxLayerMessage);
}

TEST(LayerAnswerTest, EndsAtGibberish) {
  LayerAnswer answer(kNobody);

  EXPECT_FALSE(answer.feed(wire::frame(LayerProgress{1})).value());
  EXPECT_EQ(answer.feed(std::vector<std::byte>(64, std::byte{0xff})).error().code,
            base::Code::kDataLoss);
  EXPECT_FALSE(answer.take());
}

}  // namespace
}  // namespace images
