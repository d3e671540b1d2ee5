#include "vmm/machine/state_file.h"

#include <elf.h>
#include <link.h>
#include <unistd.h>

#include <bit>
#include <cstring>

#include "vmm/base/read_file.h"

namespace machine {
namespace {

constexpr std::uint64_t kMagic = 0x6574617453567663;  // "cvVState"
constexpr std::size_t kHeaderSize = 8 + 4 + 8;
constexpr std::uint64_t kMostBytes = 64u << 20;

/// Takes 8 bytes at a time, since the file is read at every start of a container.
std::uint64_t checksum(std::span<const std::byte> bytes) {
  std::uint64_t sum = bytes.size();
  while (!bytes.empty()) {
    std::uint64_t word = 0;
    const std::size_t size = std::min(bytes.size(), sizeof word);
    std::memcpy(&word, bytes.data(), size);
    sum = std::rotl((sum ^ word) * 0x9e3779b97f4a7c15, 29);
    bytes = bytes.subspan(size);
  }
  return sum;
}

int find_build_id(dl_phdr_info* info, std::size_t /*size*/, void* out) {
  static_cast<std::string*>(out)->clear();
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& segment = info->dlpi_phdr[i];
    if (segment.p_type != PT_NOTE) continue;
    const char* at = reinterpret_cast<const char*>(info->dlpi_addr + segment.p_vaddr);
    const char* const end = at + segment.p_filesz;
    while (end - at >= static_cast<std::ptrdiff_t>(sizeof(ElfW(Nhdr)))) {
      ElfW(Nhdr) note;
      std::memcpy(&note, at, sizeof note);
      const char* const name = at + sizeof note;
      const char* const value = name + ((note.n_namesz + 3) & ~3u);
      if (note.n_type == NT_GNU_BUILD_ID) {
        static constexpr char kDigits[] = "0123456789abcdef";
        for (std::size_t n = 0; n < note.n_descsz; ++n) {
          const auto byte = static_cast<unsigned char>(value[n]);
          *static_cast<std::string*>(out) += {kDigits[byte >> 4], kDigits[byte & 15]};
        }
        return 1;
      }
      at = value + ((note.n_descsz + 3) & ~3u);
    }
  }
  return 1;  // ends the search: only the program itself counts, and it comes first
}

}  // namespace

const std::string& build_id() {
  static const std::string id = [] {
    std::string found;
    ::dl_iterate_phdr(find_build_id, &found);
    return found;
  }();
  return id;
}

std::vector<std::byte> encode_state(const StateFile& state) {
  const wire::Bytes body = wire::encode(state);
  wire::Encoder out;
  out.put(kMagic);
  out.put(kStateVersion);
  out.put(checksum(body));
  out.put_bytes(body.data(), body.size());
  return std::move(out).take();
}

base::Result<StateFile> decode_state(std::span<const std::byte> bytes,
                                     const std::optional<std::string>& build) {
  wire::Decoder header(bytes);
  std::uint64_t magic = 0;
  std::uint32_t version = 0;
  std::uint64_t sum = 0;
  header.get(magic);
  header.get(version);
  header.get(sum);
  if (!header.ok() || magic != kMagic)
    return base::Error{base::Code::kDataLoss, "this is not the state file of a template"};
  if (version != kStateVersion)
    return base::Error{base::Code::kNotSupported,
                       "the template's state file has another version than this monitor's"};
  const auto body = bytes.subspan(kHeaderSize);
  if (checksum(body) != sum)
    return base::Error{base::Code::kDataLoss, "the template's state file is damaged"};
  auto state = wire::decode<StateFile>(body);
  if (!state) return base::annotate(std::move(state), "the template's state file");
  if (build && state->build != *build)
    return base::Error{base::Code::kNotSupported,
                       "the template was made by another build of the monitor"};
  return state;
}

base::Result<void> write_state(int file, const StateFile& state) {
  const auto bytes = encode_state(state);
  std::span<const std::byte> rest = bytes;
  off_t offset = 0;
  while (!rest.empty()) {
    const ssize_t written = ::pwrite(file, rest.data(), rest.size(), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return base::errno_error("write of a state file");
    rest = rest.subspan(static_cast<std::size_t>(written));
    offset += written;
  }
  return {};
}

base::Result<StateFile> read_state(int file, const std::optional<std::string>& build) {
  const auto size = base::file_size(file);
  if (!size) return size.error();
  if (*size > kMostBytes)
    return base::Error{base::Code::kDataLoss, "the template's state file is longer than 64 MiB"};
  std::vector<std::byte> bytes(*size);
  RETURN_IF_ERROR(base::read_fully(file, 0, bytes));
  return decode_state(bytes, build);
}

}  // namespace machine
