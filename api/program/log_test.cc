#include "api/program/log.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <sstream>

namespace program {
namespace {

TEST(Log, AGuestsTextNeitherReachesTheTerminalNorMakesLinesOfItsOwn) {
  std::ostringstream written;
  open_log("info", std::make_shared<spdlog::sinks::ostream_sink_mt>(written));

  spdlog::warn("its console: {}", "\x1b[2Jpanic\n2026-01-01T00:00:00.000 info all is well");
  spdlog::shutdown();

  const std::string text = written.str();
  EXPECT_NE(text.find("warning its console: \\x1b[2Jpanic\\n2026-01-01"), std::string::npos)
      << text;
  EXPECT_EQ(text.find('\n'), text.size() - 1);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace program
