// LoopFixture: what tests of coroutines share: an io_context that the test's own thread runs, and a
// directory.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "api/async/net.h"

namespace async::testing {

/// A directory of the test's own, removed at its end.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = std::filesystem::temp_directory_path() / "containervm-test-XXXXXX";
    path_ = ::mkdtemp(name.data());
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

class LoopFixture : public ::testing::Test {
 protected:
  /// Runs the io_context until `operation` is done.
  template <typename T>
  T run(net::awaitable<T> operation) {
    std::optional<T> result;
    net::co_spawn(*io_, store(std::move(operation), &result), net::detached);
    run_until([&] { return result.has_value(); });
    return std::move(*result);
  }
  void run(net::awaitable<void> operation) {
    bool done = false;
    net::co_spawn(*io_, note(std::move(operation), &done), net::detached);
    run_until([&] { return done; });
  }
  template <typename F>
  void run_until(F done) {
    while (!done()) {
      io_->restart();
      if (io_->run_one() == 0) FAIL() << "nothing is left that could complete";
    }
  }

  net::any_io_executor executor() { return io_->get_executor(); }

  std::filesystem::path file(const std::string& name, const std::string& content) {
    const std::filesystem::path path = directory_.path() / name;
    std::ofstream(path) << content;
    return path;
  }

  TemporaryDirectory directory_;
  std::unique_ptr<net::io_context> io_ = std::make_unique<net::io_context>();

 private:
  template <typename T>
  static net::awaitable<void> store(net::awaitable<T> operation, std::optional<T>* result) {
    result->emplace(co_await std::move(operation));
  }
  static net::awaitable<void> note(net::awaitable<void> operation, bool* done) {
    co_await std::move(operation);
    *done = true;
  }
};

}  // namespace async::testing
