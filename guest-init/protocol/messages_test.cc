#include "guest-init/protocol/messages.h"

#include <gtest/gtest.h>

#include "vmm/base/wire.h"

namespace protocol {
namespace {

/// Gives every field of a message a value of its own, so that two swapped fields show.
class Filler {
 public:
  template <wire::Scalar T>
  void fill(T& value) {
    if constexpr (std::is_same_v<T, bool>)
      value = true;
    else
      value = static_cast<T>(++next_);
  }
  void fill(std::string& text) { text = "text " + std::to_string(++next_); }
  template <typename T>
  void fill(std::vector<T>& items) {
    items.resize(2);
    for (T& item : items) fill(item);
  }
  template <typename T, std::size_t N>
  void fill(std::array<T, N>& items) {
    for (T& item : items) fill(item);
  }
  template <typename T>
  void fill(std::optional<T>& item) {
    fill(item.emplace());
  }
  template <wire::Struct T>
  void fill(T& message) {
    T::fields(message, [this](auto&... field) { (fill(field), ...); });
  }

 private:
  int next_ = 0;
};

template <typename M>
class MessageTest : public ::testing::Test {};

using AllMessages =
    ::testing::Types<Hello, SetIdentity, ConfigureNetwork, PrepareContainer, StartProcess,
                     SignalProcess, ResizeTerminal, Shutdown, StreamOpen, ForgetProcess,
                     RemoveContainer, FreezeContainer, UpdateLimits, ReadStatistics, ListProcesses,
                     NameAnswer, SocketOpen, SocketRefused, UpdateNetworkFiles, HelloReply, Done,
                     Failure, ProcessStarted, ProcessExited, Statistics, ProcessList, NameQuery,
                     SocketConnected>;
TYPED_TEST_SUITE(MessageTest, AllMessages);

TYPED_TEST(MessageTest, ComesBackAsItWasSent) {
  TypeParam message;
  Filler().fill(message);
  const wire::Bytes sent = wire::encode(message);

  const auto received = wire::decode<TypeParam>(sent);

  ASSERT_TRUE(received);
  EXPECT_EQ(wire::encode(*received), sent);
}

TYPED_TEST(MessageTest, IsRefusedWhenCutShort) {
  TypeParam message;
  Filler().fill(message);
  const wire::Bytes whole = wire::encode(message);

  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(wire::decode<TypeParam>(std::span(whole).first(size))) << size;
}

TEST(Messages, HaveTypesOfTheirOwn) {
  const std::array types = {Hello::kType,
                            SetIdentity::kType,
                            ConfigureNetwork::kType,
                            PrepareContainer::kType,
                            StartProcess::kType,
                            SignalProcess::kType,
                            ResizeTerminal::kType,
                            Shutdown::kType,
                            StreamOpen::kType,
                            ForgetProcess::kType,
                            RemoveContainer::kType,
                            HelloReply::kType,
                            Done::kType,
                            Failure::kType,
                            ProcessStarted::kType,
                            ProcessExited::kType,
                            FreezeContainer::kType,
                            UpdateLimits::kType,
                            ReadStatistics::kType,
                            ListProcesses::kType,
                            NameAnswer::kType,
                            SocketOpen::kType,
                            SocketRefused::kType,
                            UpdateNetworkFiles::kType,
                            Statistics::kType,
                            ProcessList::kType,
                            NameQuery::kType,
                            SocketConnected::kType};

  for (std::size_t i = 0; i < types.size(); ++i)
    for (std::size_t j = 0; j < i; ++j) EXPECT_NE(types[i], types[j]);
}

}  // namespace
}  // namespace protocol
