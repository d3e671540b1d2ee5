#include "api/machines/templates/template_spec.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>

namespace engine {
namespace {

TEST(TemplateSpecTest, EachFieldMakesAnotherKey) {
  const std::function<void(TemplateSpec&)> changes[] = {
      [](TemplateSpec&) {},
      [](TemplateSpec& spec) { spec.architecture = "x"; },
      [](TemplateSpec& spec) { spec.kernel = "x"; },
      [](TemplateSpec& spec) { spec.initramfs = "x"; },
      [](TemplateSpec& spec) { spec.monitor = "x"; },
      [](TemplateSpec& spec) { ++spec.versions.files; },
      [](TemplateSpec& spec) { ++spec.versions.launch; },
      [](TemplateSpec& spec) { ++spec.versions.protocol; },
      [](TemplateSpec& spec) { spec.tenant = "x"; },
      [](TemplateSpec& spec) { spec.tier = "x"; },
      [](TemplateSpec& spec) { ++spec.shape.vcpus; },
      [](TemplateSpec& spec) { ++spec.shape.memory_bytes; },
      [](TemplateSpec& spec) { ++spec.shape.network_cards; },
  };
  std::set<std::string> keys;
  for (const auto& change : changes) {
    TemplateSpec spec;
    change(spec);
    keys.insert(template_key(spec));
  }

  EXPECT_EQ(keys.size(), std::size(changes));
  EXPECT_EQ(keys.begin()->size(), 64u);
}

TEST(TemplateSpecTest, ShapeAndTierAreNoInputs) {
  TemplateSpec one;
  one.tenant = "one";
  TemplateSpec other = one;
  other.shape.vcpus = 7;
  other.tier = "application";
  EXPECT_TRUE(of_the_same_inputs(one, other));

  other.tenant = "other";
  EXPECT_FALSE(of_the_same_inputs(one, other));
}

}  // namespace
}  // namespace engine
