#include "api/engine/resources/process_table.h"

#include <gtest/gtest.h>

namespace engine {
namespace {

using Row = std::vector<std::string>;

constexpr std::int64_t kNow = 1'700'000'100;

protocol::ProcessList sample() {
  protocol::ProcessList list;
  list.boot_time_s = kNow - 100;
  list.total_memory_bytes = 1u << 20;
  protocol::ProcessList::Entry entry;
  entry.pid = 7;
  entry.stat =
      "7 (my (odd) name) S 1 7 7 34816 7 4194304 100 0 0 0 250 150 0 0 20 0 1 0 1000 8192000 256 "
      "18446744073709551615\n";
  entry.command_line = std::string(
      "sleep\0"
      "100\0",
      10);
  list.processes.push_back(entry);
  return list;
}

TEST(ProcessTable, IsTheFullFormatByDefault) {
  const auto table = make_process_table(sample(), "", kNow);

  ASSERT_TRUE(table.has_value());
  EXPECT_EQ(table->titles, (Row{"UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"}));
  ASSERT_EQ(table->rows.size(), 1u);
  EXPECT_EQ(table->rows[0][0], "root");
  EXPECT_EQ(table->rows[0][1], "7");
  EXPECT_EQ(table->rows[0][2], "1");
  EXPECT_EQ(table->rows[0][3], "3");  // 3 of 90 seconds
  EXPECT_EQ(table->rows[0][5], "pts/0");
  EXPECT_EQ(table->rows[0][6], "00:00:03");
  EXPECT_EQ(table->rows[0][7], "sleep 100");
}

TEST(ProcessTable, KnowsTheUserFormat) {
  const auto table = make_process_table(sample(), "aux", kNow);

  ASSERT_TRUE(table.has_value());
  EXPECT_EQ(table->titles, (Row{"USER", "PID", "%CPU", "%MEM", "VSZ", "RSS", "TTY", "STAT", "START",
                                "TIME", "COMMAND"}));
  EXPECT_EQ(table->rows[0][3], "100.0");
  EXPECT_EQ(table->rows[0][4], "8000");
  EXPECT_EQ(table->rows[0][5], "1024");
  EXPECT_EQ(table->rows[0][7], "Ss+");
}

TEST(ProcessTable, TakesListsOfColumns) {
  for (const char* arguments :
       {"-o pid,comm,etime", "-eo pid,comm,etime", "o pid,comm,etime", "-opid,comm,etime"}) {
    const auto table = make_process_table(sample(), arguments, kNow);

    ASSERT_TRUE(table.has_value()) << arguments;
    EXPECT_EQ(table->titles, (Row{"PID", "COMMAND", "ELAPSED"})) << arguments;
    EXPECT_EQ(table->rows[0], (Row{"7", "my (odd) name", "01:30"})) << arguments;
  }
}

TEST(ProcessTable, NeedsThePidAsDockerDoes) {
  const auto table = make_process_table(sample(), "-o comm", kNow);

  EXPECT_EQ(table.error().message, "Couldn't find PID field in ps output");
}

TEST(ProcessTable, RefusesWhatItDoesNotKnow) {
  for (const char* arguments : {"--forest", "-Z", "-o", "-o pid,nonsense", "-", "axjf"})
    EXPECT_EQ(make_process_table(sample(), arguments, kNow).error().code,
              base::Code::kInvalidArgument)
        << arguments;
}

TEST(ProcessTable, ShowsAKernelsGarbageWithoutHarm) {
  protocol::ProcessList list = sample();
  list.processes[0].stat = "no parentheses";
  list.processes.push_back(list.processes[0]);
  list.processes[1].stat = ") (";
  list.processes.push_back(list.processes[0]);
  list.processes[2].stat = "1 (a\nb) S -1 x 99999999999999999999999";
  list.processes[2].command_line.clear();

  const auto table = make_process_table(list, "aux", kNow);

  ASSERT_TRUE(table.has_value());
  ASSERT_EQ(table->rows.size(), 3u);
  EXPECT_EQ(table->rows[2][10], "[a?b]");
}

TEST(ProcessTable, SurvivesNumbersThatNoKernelHas) {
  protocol::ProcessList list = sample();
  list.boot_time_s = INT64_MAX;
  list.processes[0].stat = "7 (a) \x1b";
  for (int field = 4; field < 25; ++field)
    list.processes[0].stat += field % 2 == 0 ? " 9223372036854775807" : " -9223372036854775808";
  list.processes.push_back(list.processes[0]);
  list.boot_time_s = INT64_MIN;

  const auto table =
      make_process_table(list, "-eo pid,etime,stime,time,pri,rss,vsz,pcpu,pmem,tty,stat", kNow);

  ASSERT_TRUE(table.has_value());
  EXPECT_EQ(table->rows[0][10].front(), '?');  // its state was a control character
}

TEST(ProcessTable, HasNoMoreColumnsThanAnybodyReads) {
  std::string list = "-eo pid";
  for (int i = 0; i < 100; ++i) list += ",args";

  EXPECT_EQ(make_process_table(sample(), list, kNow).error().code, base::Code::kInvalidArgument);
}

}  // namespace
}  // namespace engine
