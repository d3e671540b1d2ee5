#include "api/engine/process/process.h"

#include <gtest/gtest.h>

#include <csignal>
#include <string>

#include "api/engine/process/start_refusal.h"
#include "api/fakes/engine_fixture.h"

namespace engine {
namespace {

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

struct KeepingSink final : OutputSink {
  net::awaitable<void> write(protocol::Stream, std::vector<std::byte> bytes) override {
    kept += text_of(bytes);
    co_return;
  }
  std::string kept;
};

class ProcessTest : public fakes::EngineFixture {
 protected:
  static constexpr ProcessId kProcess = 7;

  /// A container's, whose main process sleeps.
  std::shared_ptr<Machine> start_machine() {
    const ContainerPtr container = create({"sleep"});
    EXPECT_TRUE(await(containers_->start(container)));
    return container->run.machine;
  }
  ProcessPtr make(Process::Shape shape = {}) {
    return std::make_shared<Process>(io_.get_executor(), kProcess, shape);
  }
  base::Result<ProcessStart> start(const ProcessPtr& process, std::vector<std::string> command) {
    protocol::StartProcess request;
    request.argv = std::move(command);
    return await(process->start(machine_, std::move(request)));
  }
  /// What its owner does.
  static net::awaitable<void> follow(ProcessPtr process) {
    const auto exit = co_await process->wait_exit();
    std::optional<int> exit_code;
    if (exit) exit_code = exit_code_of(*exit);
    co_await process->end(exit_code);
  }
  std::string read_all(Attachment& attachment) {
    std::string text;
    while (const auto chunk = await(attachment.next())) text += text_of(chunk->bytes);
    return text;
  }
  /// The result of `task`, should it have ended by now.
  template <typename T>
  std::shared_ptr<std::optional<T>> watch(net::awaitable<T> task) {
    const auto result = std::make_shared<std::optional<T>>();
    net::co_spawn(io_, std::move(task), [result](const std::exception_ptr&, T value) {
      result->emplace(std::move(value));
    });
    settle();
    return result;
  }
  std::shared_ptr<bool> watch(net::awaitable<void> task) {
    const auto done = std::make_shared<bool>(false);
    net::co_spawn(io_, std::move(task), [done](const std::exception_ptr&) { *done = true; });
    settle();
    return done;
  }

  std::shared_ptr<Machine> machine_ = start_machine();
};

TEST_F(ProcessTest, AClientThatAttachesBeforeItStartsMissesNothing) {
  const ProcessPtr process = make();
  const auto attachment = process->attach(true, true);

  ASSERT_TRUE(start(process, {"echo", "first"}));
  await(follow(process));

  EXPECT_EQ(read_all(*attachment), "first\n");
  EXPECT_EQ(process->exit_code(), 0);
}

TEST_F(ProcessTest, RunsFromItsStartToItsEnd) {
  const ProcessPtr process = make();
  EXPECT_FALSE(process->running());

  const auto started = start(process, {"sleep"});

  EXPECT_TRUE(process->running());
  EXPECT_EQ(process->pid(), started->pid);
  ASSERT_TRUE(await(process->signal(SIGTERM)));
  await(follow(process));
  EXPECT_FALSE(process->running());
  EXPECT_EQ(process->pid(), 0);
  EXPECT_EQ(process->exit_code(), 128 + SIGTERM);
}

TEST_F(ProcessTest, OneThatIsRefusedDoesNotRun) {
  const ProcessPtr process = make();

  const auto started = start(process, {"no-such-command"});

  ASSERT_TRUE(started && started->refusal);
  EXPECT_FALSE(process->running());
  const StartRefusal refusal = explain_refusal(*started->refusal, "no-such-command");
  EXPECT_EQ(refusal.exit_code, 127);
  EXPECT_EQ(refusal.message,
            "unable to start container process: exec: \"no-such-command\": executable file not "
            "found in $PATH");
}

TEST_F(ProcessTest, AttachmentsEndWhenItCannotBeStarted) {
  const ProcessPtr process = make();
  const auto attachment = process->attach(true, true);
  const auto begun = watch(process->wait_begun());
  const auto over = watch(process->wait_over());
  EXPECT_FALSE(begun->has_value() || *over);

  await(process->end(127));

  EXPECT_EQ(read_all(*attachment), "");
  settle();
  EXPECT_EQ(*begun, false);
  EXPECT_TRUE(*over);
}

TEST_F(ProcessTest, WhoSeesTheEndOfItsOutputFindsItsExitCode) {
  const ProcessPtr process = make();
  const auto attachment = process->attach(true, true);
  ASSERT_TRUE(start(process, {"echo", "last"}));
  const auto read_to_end = [](ProcessPtr of,
                              Attachment& from) -> net::awaitable<std::optional<int>> {
    while (co_await from.next()) continue;
    co_return of->exit_code();
  };
  const auto seen = watch(read_to_end(process, *attachment));
  EXPECT_FALSE(seen->has_value());

  await(follow(process));

  settle();
  ASSERT_TRUE(seen->has_value());
  EXPECT_EQ(**seen, 0);
}

TEST_F(ProcessTest, InputOfSeveralClientsIsNotMixed) {
  const ProcessPtr process = make({.tty = false, .open_stdin = true});
  const auto attachment = process->attach(true, true);
  ASSERT_TRUE(start(process, {"cat"}));

  const auto first = watch(process->write_stdin(bytes_of("one ")));
  const auto second = watch(process->write_stdin(bytes_of("two")));
  process->close_stdin();
  await(follow(process));

  EXPECT_TRUE(first->has_value() && second->has_value());
  EXPECT_EQ(read_all(*attachment), "one two");
}

TEST_F(ProcessTest, InputNeedsAProcessThatRuns) {
  const ProcessPtr process = make({.tty = false, .open_stdin = true});

  const auto written = await(process->write_stdin(bytes_of("early")));

  EXPECT_EQ(written.error().code, base::Code::kUnavailable);
  process->close_stdin();
}

TEST_F(ProcessTest, ASignalToOneThatHasEndedSucceeds) {
  const ProcessPtr process = make();
  EXPECT_TRUE(await(process->signal(SIGKILL)));
  ASSERT_TRUE(start(process, {"true"}));

  ASSERT_TRUE(await(process->wait_exit()));
  EXPECT_TRUE(await(process->signal(SIGKILL)));
  await(process->end(0));

  EXPECT_TRUE(await(process->signal(SIGKILL)));
}

TEST_F(ProcessTest, ASignalThatTheGuestDoesNotAnswerIsAnError) {
  const ProcessPtr process = make();
  ASSERT_TRUE(start(process, {"sleep"}));
  host_.trouble().stalled = true;

  const auto sent = await(process->signal(SIGTERM));

  EXPECT_EQ(sent.error().code, base::Code::kDeadlineExceeded);
  host_.trouble().stalled = false;
}

TEST_F(ProcessTest, AMachinesEndEndsIt) {
  const ProcessPtr process = make();
  ASSERT_TRUE(start(process, {"stubborn"}));

  machine_->kill();
  await(follow(process));

  EXPECT_FALSE(process->running());
}

TEST_F(ProcessTest, ASinkTakesTheOutputInstead) {
  const ProcessPtr process = make();
  const auto sink = std::make_shared<KeepingSink>();
  process->send_output_to(sink);
  const auto attachment = process->attach(true, true);

  ASSERT_TRUE(start(process, {"echo", "kept"}));
  await(follow(process));

  EXPECT_EQ(sink->kept, "kept\n");
  EXPECT_EQ(read_all(*attachment), "");
}

TEST_F(ProcessTest, AMachineThatIsTakenOverFindsItAsItWas) {
  const ProcessPtr process = make({.tty = true, .open_stdin = true});

  const AdoptSpec::Process spec = process->adopt_spec(LogPosition::Streams{.out = 12, .err = 3});

  EXPECT_EQ(spec.sink, process->sink());
  EXPECT_TRUE(spec.open_stdin && spec.tty);
  EXPECT_EQ(spec.stdout_bytes, 12u);
  EXPECT_EQ(spec.stderr_bytes, 3u);
  EXPECT_FALSE(process->adopt_spec(std::nullopt).stdout_bytes);
}

}  // namespace
}  // namespace engine
