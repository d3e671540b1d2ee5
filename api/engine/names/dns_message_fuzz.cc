// What a process of a container sends its resolver.
#include <cstdint>
#include <span>

#include "api/engine/names/dns_message.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace engine::dns;
  const auto message = std::as_bytes(std::span(data, size));
  (void)cut_to_datagram({message.begin(), message.end()});
  const auto question = parse_question(message);
  if (!question) return 0;
  // A label may have a dot in it, which is written with a backslash.
  if (question->name.ends_with('.') && !question->name.ends_with("\\.")) __builtin_trap();
  (void)address_of_pointer(question->name);
  const Bytes answer = with_addresses(message, {"172.18.0.2", "fd00::3"});
  if (answer.size() >= 2 && (answer[0] != message[0] || answer[1] != message[1])) __builtin_trap();
  (void)with_name(message, "web.mine");
  (void)failure(message);
  return 0;
}
