// What a guest says its processes are, and what a client wants to see of them: refused, or a table.
#include <cstdlib>

#include "api/engine/resources/process_table.h"
#include "images/store/testing/fuzz_bytes.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  images::testing::FuzzBytes input(data, size);
  const std::string arguments = input.text(input.byte());
  const std::string bytes = input.rest();
  const auto list = wire::decode<protocol::ProcessList>(std::as_bytes(std::span(bytes)));
  if (!list) return 0;
  const auto table = engine::make_process_table(*list, arguments, 1'700'000'000);
  if (!table) return 0;
  for (const auto& row : table->rows) {
    if (row.size() != table->titles.size()) std::abort();
    for (const std::string& cell : row)
      for (const char c : cell)
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) std::abort();
  }
  return 0;
}
