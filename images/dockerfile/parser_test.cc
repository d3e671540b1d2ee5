#include "images/dockerfile/parser.h"

#include <gtest/gtest.h>

#include "images/dockerfile/instructions.h"

namespace dockerfile {
namespace {

using Words = std::vector<std::string>;

Dockerfile made(std::string_view text) {
  auto file = parse(text);
  EXPECT_TRUE(file) << (file ? "" : file.error().message);
  if (!file) return {};
  auto stages = stages_of(*file);
  EXPECT_TRUE(stages) << (stages ? "" : stages.error().message);
  return stages ? *stages : Dockerfile{};
}

std::string refusal(std::string_view text) {
  const auto file = parse(text);
  if (!file) return file.error().message;
  const auto stages = stages_of(*file);
  return stages ? "" : stages.error().message;
}

TEST(DockerfileParser, ReadsStagesAndInstructions) {
  const Dockerfile file = made(
      "ARG V=1\nFROM a:$V AS Build\nRUN echo  hi\nFROM --platform=linux/amd64 scratch\n"
      "COPY --from=build --chown=1:2 /x /y\n");

  ASSERT_EQ(file.stages.size(), 2u);
  EXPECT_EQ(file.arguments.at(0).arguments, Words({"V=1"}));
  EXPECT_EQ(file.stages[0].base, "a:$V");
  EXPECT_EQ(file.stages[0].name, "build");
  EXPECT_EQ(file.stages[0].instructions.at(0).text, "RUN echo  hi");
  EXPECT_EQ(file.stages[0].instructions.at(0).arguments, Words({"echo  hi"}));
  EXPECT_EQ(file.stages[1].platform, "linux/amd64");
  EXPECT_EQ(file.stages[1].instructions.at(0).flag("from"), "build");
  EXPECT_EQ(file.stages[1].instructions.at(0).flag("chown"), "1:2");
  EXPECT_EQ(find_stage(file.stages, "BUILD"), 0u);
  EXPECT_EQ(find_stage(file.stages, "1"), std::nullopt);
}

TEST(DockerfileParser, JoinsLinesAndDropsCommentsBetweenThem) {
  const Dockerfile file =
      made("\xef\xbb\xbf# a comment\r\nFROM x\n  RUN a \\\n  # inside\n   b \\ \n\n   c\n#end\n");

  EXPECT_EQ(file.stages.at(0).instructions.at(0).text, "RUN a    b    c");
  EXPECT_EQ(file.warnings.size(), 2u);
}

TEST(DockerfileParser, HonoursTheEscapeDirective) {
  const Dockerfile file = made("# escape=`\nFROM x\nRUN a `\n b\\\nCMD c\n");

  EXPECT_EQ(file.stages.at(0).instructions.at(0).text, "RUN a  b\\");
  EXPECT_EQ(file.stages.at(0).instructions.size(), 2u);
  EXPECT_EQ(refusal("# escape=x\nFROM x"), "invalid escape token 'x' does not match ` or \\");
  EXPECT_EQ(refusal("# escape=`\n# escape=`\nFROM x"),
            "only one escape parser directive can be used");
  EXPECT_EQ(made("# comment\n# escape=`\nFROM x\nRUN a`\nRUN b").stages[0].instructions.size(), 2u);
}

TEST(DockerfileParser, TellsTheFormsOfArgumentsApart) {
  const Dockerfile file = made(
      "FROM x\nCMD [\"a\", \"b c\"]\nCMD [a, b]\nENV A=1 B='2 3' C=4\\ 5\nENV D the rest\n"
      "VOLUME [\"/a\", \"/b c\"]\nVOLUME /a /b\nONBUILD RUN x y\nHEALTHCHECK --retries=2 CMD "
      "[\"a\"]\nEXPOSE 90 80\nENTRYPOINT [\"a\"] b\n");
  const auto& all = file.stages.at(0).instructions;

  EXPECT_TRUE(all.at(0).exec_form);
  EXPECT_EQ(all[0].arguments, Words({"a", "b c"}));
  EXPECT_FALSE(all.at(1).exec_form);
  EXPECT_EQ(all[1].arguments, Words({"[a, b]"}));
  EXPECT_EQ(all.at(2).arguments, Words({"A", "1", "B", "'2 3'", "C", "4\\ 5"}));
  EXPECT_EQ(all.at(3).arguments, Words({"D", "the rest"}));
  EXPECT_EQ(all.at(4).arguments, Words({"/a", "/b c"}));
  EXPECT_EQ(all.at(5).arguments, Words({"/a", "/b"}));
  EXPECT_EQ(all.at(6).arguments, Words({"RUN x y"}));
  EXPECT_EQ(all.at(7).arguments, Words({"CMD", "a"}));
  EXPECT_EQ(all.at(8).arguments, Words({"80", "90"}));
  EXPECT_EQ(all.at(9).arguments, Words({"[\"a\"] b"}));
}

TEST(DockerfileParser, RefusesInTheClassicBuildersWords) {
  const std::pair<const char*, const char*> kCases[] = {
      {"# only\n", "file with no instructions"},
      {"FROM x\n\nFOO bar",
       "dockerfile parse error on line 3: unknown instruction: FOO (did you mean FROM?)"},
      {"RUN x", "no build stage in current context"},
      {"FROM a b", "dockerfile parse error on line 1: FROM requires either one or three arguments"},
      {"FROM a AS 1x",
       "dockerfile parse error on line 1: invalid name for build stage: \"1x\", name can't start "
       "with "
       "a number or contain symbols"},
      {"FROM x\nENV A", "ENV must have two arguments"},
      {"FROM x\nENV A=1 B",
       "Syntax error - can't find = in \"B\". Must be of the form: name=value"},
      {"FROM x\nCMD [1]", "when using JSON array syntax, arrays must be comprised of strings only"},
      {"FROM x\nCOPY a",
       "dockerfile parse error on line 2: COPY requires at least two arguments, but only one was "
       "provided. Destination could not be determined"},
      {"FROM x\nCOPY --what=1 a b", "dockerfile parse error on line 2: unknown flag: --what"},
      {"FROM x\nCOPY --from a b",
       "dockerfile parse error on line 2: missing a value on flag: --from"},
      {"FROM x\nONBUILD FROM y",
       "dockerfile parse error on line 2: FROM isn't allowed as an ONBUILD trigger"},
      {"FROM x\nSHELL sh",
       "dockerfile parse error on line 2: SHELL requires the arguments to be in JSON form"},
      {"FROM x\nHEALTHCHECK RUN a",
       "dockerfile parse error on line 2: Unknown type \"RUN\" in HEALTHCHECK (try CMD)"},
      {"FROM x\nCOPY --form=y a b",
       "dockerfile parse error on line 2: unknown flag: --form (did you mean from?)"},
      {"FROM x\nCOPY --from=y --from=z a b",
       "dockerfile parse error on line 2: duplicate flag specified: --from"},
      {"FROM x\nCoppy a b",
       "dockerfile parse error on line 2: unknown instruction: Coppy (did you mean copy?)"},
      {"FROM x\nsomething", "dockerfile parse error on line 2: unknown instruction: something"},
      {"FROM x\nHEALTHCHECK --retries=-1 CMD true",
       "dockerfile parse error on line 2: --retries cannot be negative (-1)"},
      {"FROM x\nHEALTHCHECK --retries=3000000000 CMD true",
       "dockerfile parse error on line 2: strconv.ParseInt: parsing \"3000000000\": value out of "
       "range"},
      {"FROM x\nHEALTHCHECK --retries=+-1 CMD true",
       "dockerfile parse error on line 2: strconv.ParseInt: parsing \"+-1\": invalid syntax"},
      {"FROM x\nWORKDIR",
       "dockerfile parse error on line 2: WORKDIR requires exactly one argument"}};
  for (const auto& [text, expected] : kCases) EXPECT_EQ(refusal(text), expected) << text;
}

TEST(DockerfileParser, BoundsALineAndNesting) {
  EXPECT_NE(refusal("FROM x\nRUN " + std::string(70000, 'a')).find("greater than max"),
            std::string::npos);
  std::string nested = "FROM x\n";
  for (int i = 0; i < 1000; ++i) nested += "ONBUILD ";
  EXPECT_NE(refusal(nested + "RUN a").find("nested too deeply"), std::string::npos);
}

}  // namespace
}  // namespace dockerfile
