#include "api/docker/images/progress.h"

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

namespace docker {

using base::Result;

void Progress::append(const nlohmann::json& object, bool may_drop) {
  {
    const std::lock_guard lock(mutex_);
    if (may_drop && waiting_.size() > kMaxWaiting) return;
    begun_ = true;
    waiting_ += http::dump_json(object) + "\r\n";
  }
  wake();
}

void Progress::fail(const base::Error& error) {
  say({{"errorDetail", {{"message", error.message}}}, {"error", error.message}});
}

void Progress::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  wake();
}

void Progress::wake() {
  net::post(executor_, [self = shared_from_this()] { self->changed_.notify_all(); });
}

bool Progress::has_begun() {
  const std::lock_guard lock(mutex_);
  return begun_;
}

net::awaitable<bool> Progress::begun() {
  while (true) {
    {
      const std::lock_guard lock(mutex_);
      if (begun_ || closed_) co_return begun_;
    }
    co_await changed_.wait();
  }
}

net::awaitable<Result<void>> Progress::forward(http::Exchange& exchange) {
  while (true) {
    std::string ready;
    bool last = false;
    {
      const std::lock_guard lock(mutex_);
      ready.swap(waiting_);
      last = closed_;
    }
    if (!ready.empty()) {
      const auto written = co_await exchange.write(ready);
      if (!written) co_return written.error();
    }
    if (last) co_return Result<void>();
    // Notifications run on this thread: one for what came after the look above is still to come.
    if (ready.empty()) co_await changed_.wait();
  }
}

std::string progress_bar(std::uint64_t current, std::uint64_t total) {
  constexpr std::size_t kWidth = 50;
  const auto human = [](std::uint64_t bytes) {
    constexpr std::array<const char*, 6> kUnits{"B", "kB", "MB", "GB", "TB", "PB"};
    auto value = static_cast<double>(bytes);
    std::size_t unit = 0;
    for (; value >= 1000 && unit + 1 < kUnits.size(); ++unit) value /= 1000;
    std::array<char, 32> text;
    std::snprintf(text.data(), text.size(), "%.4g%s", value, kUnits[unit]);
    return std::string(text.data());
  };
  const std::uint64_t safe_total = std::max<std::uint64_t>(total, 1);
  const std::size_t done =
      static_cast<std::size_t>(static_cast<double>(std::min(current, safe_total)) /
                               static_cast<double>(safe_total) * kWidth);
  const std::string spaces(kWidth - done, ' ');
  return "[" + std::string(done, '=') + (done < kWidth ? ">" : "") +
         spaces.substr(done < kWidth ? 1 : 0) + "]  " + human(current) + "/" + human(total);
}

}  // namespace docker
