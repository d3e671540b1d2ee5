// check_request(): whether a request is whole, before libfuse sees it. libfuse reads what it was
// sent without looking at its length, because it trusts its kernel; here the kernel is a guest's.
//
// Threads: any. Trust: every byte is the guest's. Spec: linux/fuse.h; the table in the source says
// what each request consists of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace fileserver {

struct Verdict {
  enum class Action {
    kServe,   // libfuse gets it
    kRefuse,  // it is answered with `error`
    kIgnore,  // it is dropped, as nobody waits for an answer
    kInit,    // it is whole, and begins a session
    kDestroy  // it is whole, and ends a session
  };
  Action action = Action::kRefuse;
  int error = 0;

  friend bool operator==(const Verdict&, const Verdict&) = default;
};

/// `request` begins with its fuse_in_header, which is there as a whole and says its length.
Verdict check_request(std::span<const std::byte> request);

/// Whether a request of this kind never gets an answer.
bool is_unanswered(std::uint32_t opcode);

}  // namespace fileserver
