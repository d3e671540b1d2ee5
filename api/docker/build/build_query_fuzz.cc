// What a client asks of a build: refused, or options.
#include "api/docker/build/build_query.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const auto query = http::Query::parse(text);
  if (query) (void)docker::build::parse_build_query(*query);
  return 0;
}
