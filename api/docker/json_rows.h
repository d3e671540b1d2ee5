// JsonRows: builds a JSON array as text, for answers with as many rows as clients have made
// objects. Rows are written one at a time, and after a number of them other coroutines have their
// turn.
//
// Threads: the io_context thread. Objects may come, change and go between two rows. Memory: the
// text, and one row.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>

#include "api/async/net.h"
#include "api/http/message.h"

namespace docker {

class JsonRows {
 public:
  /// A turn ends after so many objects, shown or not, or so many bytes.
  static constexpr std::size_t kObjectsAtOnce = 64;
  static constexpr std::size_t kBytesAtOnce = 64u << 10;

  net::awaitable<void> add(nlohmann::json row);
  /// Counts an object that is not shown.
  net::awaitable<void> pass();

  std::size_t size() const { return size_; }
  std::string take() { return std::move(text_) + "]"; }

 private:
  net::awaitable<void> count(std::size_t bytes);

  std::string text_ = "[";
  std::size_t size_ = 0;
  std::size_t objects_ = 0;  // of this turn
  std::size_t bytes_ = 0;
};

/// 200 with the array; `before` and `after` stand around it.
http::Response rows_response(JsonRows rows, std::string_view before = {},
                             std::string_view after = {});

}  // namespace docker
