#include "api/async/readiness.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <optional>

#include "vmm/base/unique_fd.h"

namespace async {
namespace {

using Descriptor = net::posix::stream_descriptor;

struct Pipe {
  Pipe() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe(ends.data()), 0);
    out.reset(ends[0]);
    in.reset(ends[1]);
  }
  void write() const { EXPECT_EQ(::write(in.get(), "x", 1), 1); }

  base::UniqueFd out;
  base::UniqueFd in;
};

class ReadinessTest : public testing::Test {
 protected:
  void turn() {
    io_.poll();
    io_.restart();
  }

  net::io_context io_;
};

TEST_F(ReadinessTest, AWaitEndsForItsOwnDescriptorOnly) {
  const Pipe first;
  const Pipe second;
  const Pipe other;
  Descriptor closes(io_, ::dup(first.out.get()));
  std::optional<Descriptor> closed(std::in_place, io_, ::dup(second.out.get()));
  std::optional<Descriptor> waited_for;
  bool asios_wait_ended = false;
  bool ended = false;
  closes.async_wait(Descriptor::wait_read, [&](boost::system::error_code) {
    closed.reset();
    waited_for.emplace(io_, ::dup(other.out.get()));
    waited_for->async_wait(Descriptor::wait_read,
                           [&](boost::system::error_code) { asios_wait_ended = true; });
    net::co_spawn(io_, wait_until_ready(*waited_for, Descriptor::wait_read),
                  [&](const std::exception_ptr&, boost::system::error_code) { ended = true; });
  });
  closed->async_wait(Descriptor::wait_read, [](boost::system::error_code) {});
  turn();

  first.write();
  second.write();
  turn();

  ASSERT_TRUE(asios_wait_ended) << "nothing was mistaken for anything: this shows nothing";
  EXPECT_FALSE(ended);
  other.write();
  turn();
  EXPECT_TRUE(ended);
}

TEST_F(ReadinessTest, AWaitTellsThatItWasCancelled) {
  const Pipe pipe;
  Descriptor waited_for(io_, ::dup(pipe.out.get()));
  boost::system::error_code how;
  net::co_spawn(io_, wait_until_ready(waited_for, Descriptor::wait_read),
                [&](const std::exception_ptr&, boost::system::error_code error) { how = error; });
  turn();

  waited_for.cancel();
  turn();

  EXPECT_EQ(how, net::error::operation_aborted);
}

}  // namespace
}  // namespace async
