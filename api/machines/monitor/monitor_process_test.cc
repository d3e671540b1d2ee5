#include "api/machines/monitor/monitor_process.h"

#include <gtest/gtest.h>

namespace engine {
namespace {

TEST(MonitorRecordTest, OneThatAnyDaemonOfItsVersionWroteCanBeRead) {
  const std::vector<std::uint8_t> written = {
      1, 0, 0, 0,                // version
      2, 0, 0, 0,                // pid
      3, 0, 0, 0, 0,   0, 0, 0,  // start time
      4, 0, 0, 0,                // slot
      1, 0, 0, 0, 'g',           // group
      5, 0, 0, 0,                // vCPUs
      6, 0, 0, 0, 0,   0, 0, 0,  // memory
  };

  const auto record = wire::decode<MonitorProcess::Record>(std::as_bytes(std::span(written)));

  ASSERT_TRUE(record) << record.error().message;
  EXPECT_EQ(record->version, MonitorProcess::Record::kVersion);
  EXPECT_EQ(record->pid, 2);
  EXPECT_EQ(record->slot, 4u);
  EXPECT_EQ(record->group, "g");
  EXPECT_EQ(record->memory_bytes, 6u);
}

}  // namespace
}  // namespace engine
