// A signature policy file, and what an accepted one finds for an image.
#include <cstdint>
#include <string>

#include "images/policy/policy.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Half of the inputs are the inside of a requirement, so that they get beyond the first brace.
  std::string text(reinterpret_cast<const char*>(data), size);
  if (size > 0 && data[0] % 2 == 0)
    text = R"({"default":[{"type":"reject"}],"transports":{"docker":{"a.b/c":[{)" + text.substr(1) +
           "}]}}}";
  const auto policy = images::Policy::parse(text);
  if (!policy) return 0;
  images::Origin origin;
  origin.transport = "docker";
  origin.reference = "a.b/c/d:tag";
  if (policy->find(origin).requirements.empty()) __builtin_trap();
  return 0;
}
