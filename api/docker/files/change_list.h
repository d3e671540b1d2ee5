// ChangeList: renders what a container has changed as Docker's JSON, in pieces. Memory: what was
// not taken yet, not the whole list.
#pragma once

#include <string>
#include <utility>

#include "api/engine/files/change_decoder.h"

namespace docker {

class ChangeList {
 public:
  void add(const engine::FileChange& change);
  /// Ends the list.
  void finish();
  std::size_t size() const { return text_.size(); }
  /// Takes what the text has grown by. An empty list is "null", as Docker has it.
  std::string take() { return std::exchange(text_, {}); }

 private:
  std::string text_;
  bool any_ = false;
};

}  // namespace docker
