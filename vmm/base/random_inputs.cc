// main() of a fuzz target where libFuzzer is not there (gcc): the files of its corpus as they are,
// then random inputs and changed ones of the corpus. With clang and CONTAINERVM_FUZZ, libFuzzer
// takes its place.
//
// usage: TARGET [-runs=N] [-seed=N] [DIRECTORY]...   (what else begins with a dash is libFuzzer's)
// The same seed, number of runs and corpus give the same inputs.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;
using Random = std::mt19937_64;

constexpr std::size_t kLongest = 4096;

std::vector<Input> read_corpus(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> files;
  for (const auto& file : std::filesystem::directory_iterator(directory))
    files.push_back(file.path());
  std::sort(files.begin(), files.end());
  std::vector<Input> corpus;
  for (const auto& file : files) {
    std::ifstream in(file, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return corpus;
}

Input random_input(Random& random) {
  Input input(random() % 1024);
  // Small values are likely: they pass for sizes, indices and flags.
  const std::uint64_t mask = random() % 3 == 0 ? 0x03 : 0xff;
  for (std::uint8_t& byte : input) byte = static_cast<std::uint8_t>(random() & mask);
  return input;
}

/// Some bytes changed, cut out or put in twice, or continued as another input goes on.
Input changed_input(Random& random, const std::vector<Input>& corpus) {
  Input input = corpus[random() % corpus.size()];
  for (std::uint64_t changes = 1 + random() % 8; changes > 0 && !input.empty(); --changes) {
    const std::size_t at = random() % input.size();
    const auto place = input.begin() + static_cast<std::ptrdiff_t>(at);
    const std::size_t length = 1 + random() % std::min<std::size_t>(input.size() - at, 16);
    switch (random() % 5) {
      case 0:
        *place = static_cast<std::uint8_t>(random());
        break;
      case 1:
        *place = static_cast<std::uint8_t>(*place ^ (1u << (random() % 8)));
        break;
      case 2:
        input.erase(place, place + static_cast<std::ptrdiff_t>(length));
        break;
      case 3: {
        const Input piece(place, place + static_cast<std::ptrdiff_t>(length));
        input.insert(place, piece.begin(), piece.end());
        break;
      }
      default: {
        const Input& other = corpus[random() % corpus.size()];
        if (other.size() <= at) break;
        input.assign(input.begin(), place);
        input.insert(input.end(), other.begin() + static_cast<std::ptrdiff_t>(at), other.end());
      }
    }
  }
  if (input.size() > kLongest) input.resize(kLongest);
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  long runs = 2000;
  std::uint64_t seed = 1;
  std::vector<Input> corpus;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with("-runs=")) runs = std::strtol(argv[i] + 6, nullptr, 10);
    if (argument.starts_with("-seed=")) seed = std::strtoull(argv[i] + 6, nullptr, 10);
    if (argument.starts_with("-")) continue;
    std::vector<Input> more = read_corpus(argv[i]);
    corpus.insert(corpus.end(), std::make_move_iterator(more.begin()),
                  std::make_move_iterator(more.end()));
  }
  for (const Input& input : corpus) LLVMFuzzerTestOneInput(input.data(), input.size());
  Random random(seed);
  for (long i = 0; i < runs; ++i) {
    const bool fresh = corpus.empty() || random() % 4 == 0;
    const Input input = fresh ? random_input(random) : changed_input(random, corpus);
    LLVMFuzzerTestOneInput(input.data(), input.size());
  }
  std::printf("Done %ld runs\n", runs);
  return 0;
}
