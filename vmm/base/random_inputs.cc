// main() of a fuzz target where libFuzzer is not there (gcc): the same inputs every time, from a
// fixed seed. With clang and CONTAINERVM_FUZZ, libFuzzer takes its place.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int argc, char** argv) {
  const long runs = argc > 1 ? std::strtol(argv[1], nullptr, 10) : 2000;
  std::mt19937_64 random(1);  // NOLINT: the same inputs every time
  std::vector<std::uint8_t> input;
  for (long i = 0; i < runs; ++i) {
    input.resize(random() % 1024);
    // Small values are likely: they pass for sizes, indices and flags.
    const std::uint64_t mask = random() % 3 == 0 ? 0x03 : 0xff;
    for (std::uint8_t& byte : input) byte = static_cast<std::uint8_t>(random() & mask);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  return 0;
}
