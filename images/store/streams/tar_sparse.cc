// The sparse formats of GNU tar: old GNU headers, and pax 0.0, 0.1 and 1.0.

#include <algorithm>

#include "images/store/streams/tar_fields.h"
#include "images/store/streams/tar_reader.h"

namespace images {

namespace {

constexpr tar::Field kGnuIsExtended{482, 1};
constexpr tar::Field kGnuRealSize{483, 12};
constexpr std::size_t kGnuMapOffset = 386;
constexpr std::size_t kGnuMapEntries = 4;
constexpr tar::Field kExtensionIsExtended{504, 1};
constexpr std::size_t kExtensionMapEntries = 21;

base::Error malformed(std::string_view what) {
  return {base::Code::kInvalidArgument,
          "archive/tar: invalid tar header: sparse map: " + std::string(what)};
}

/// Ordered regions that lie inside the file and hold exactly the stored bytes.
base::Result<void> check(const std::vector<SparseRegion>& regions, std::uint64_t size,
                         std::uint64_t stored_size) {
  std::uint64_t end = 0;
  std::uint64_t stored = 0;
  for (const SparseRegion& region : regions) {
    if (region.offset < end || region.offset > size || region.length > size - region.offset)
      return malformed("regions overlap or exceed the file");
    end = region.offset + region.length;
    stored += region.length;
  }
  if (stored != stored_size) return malformed("regions do not hold the stored bytes");
  return {};
}

base::Result<void> append(std::vector<SparseRegion>& regions, std::optional<std::uint64_t> offset,
                          std::optional<std::uint64_t> length) {
  if (!offset || !length) return malformed("bad number");
  if (regions.size() >= TarReader::kMaxSparseRegions) return malformed("too many regions");
  regions.push_back({*offset, *length});
  return {};
}

std::optional<std::uint64_t> unsigned_field(std::span<const std::byte> block, tar::Field field) {
  const auto value = tar::number(block, field);
  if (!value || *value < 0) return std::nullopt;
  return static_cast<std::uint64_t>(*value);
}

base::Result<void> append_gnu_map(std::span<const std::byte> block, std::size_t at,
                                  std::size_t count, std::vector<SparseRegion>& regions) {
  for (std::size_t i = 0; i < count; ++i, at += 24) {
    if (block[at] == std::byte{0}) break;
    RETURN_IF_ERROR(
        append(regions, unsigned_field(block, {at, 12}), unsigned_field(block, {at + 12, 12})));
  }
  return {};
}

/// What pax records say about sparseness; format 0.x has the map in them.
struct PaxSparse {
  bool present = false;
  bool map_in_data = false;  // format 1.0
  std::optional<std::uint64_t> size;
  std::optional<std::string> name;
  std::vector<SparseRegion> regions;
};

/// "offset,length,offset,length..."
base::Result<void> parse_pax_map(std::string_view text, std::vector<SparseRegion>& regions) {
  std::optional<std::uint64_t> offset;
  bool have_offset = false;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    const auto value = tar::decimal(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
    if (!have_offset) {
      offset = value;
    } else {
      RETURN_IF_ERROR(append(regions, offset, value));
    }
    have_offset = !have_offset;
  }
  return have_offset ? malformed("odd count") : base::Result<void>();
}

base::Result<PaxSparse> parse_pax_sparse(
    const std::vector<std::pair<std::string, std::string>>& records) {
  PaxSparse sparse;
  std::optional<std::uint64_t> offset;
  for (const auto& [key, value] : records) {
    if (!key.starts_with("GNU.sparse.")) continue;
    const std::string_view field = std::string_view(key).substr(11);
    if (field == "major") sparse.map_in_data = value == "1";
    if (field == "major" || field == "map" || field == "numblocks") sparse.present = true;
    if (field == "name") sparse.name = value;
    if (field == "size" || field == "realsize") sparse.size = tar::decimal(value);
    if (field == "offset") offset = tar::decimal(value);
    if (field == "numbytes") RETURN_IF_ERROR(append(sparse.regions, offset, tar::decimal(value)));
    if (field == "map") RETURN_IF_ERROR(parse_pax_map(value, sparse.regions));
  }
  return sparse;
}

}  // namespace

base::Result<std::vector<SparseRegion>> TarReader::read_gnu_sparse(const Block& header) {
  std::vector<SparseRegion> regions;
  RETURN_IF_ERROR(append_gnu_map(header, kGnuMapOffset, kGnuMapEntries, regions));
  bool extended = header[kGnuIsExtended.offset] != std::byte{0};
  while (extended) {
    Block block;
    auto more = read_block(block);
    if (!more) return std::move(more).error();
    if (!*more) return base::Error{base::Code::kDataLoss, "unexpected EOF"};
    RETURN_IF_ERROR(append_gnu_map(block, 0, kExtensionMapEntries, regions));
    extended = block[kExtensionIsExtended.offset] != std::byte{0};
  }
  return regions;
}

// Format 1.0: the stored bytes begin with decimal lines - a count, then offset and length of each
// region - padded to a whole block.
base::Result<std::vector<SparseRegion>> TarReader::read_pax_sparse_map() {
  std::vector<SparseRegion> regions;
  std::vector<std::uint64_t> numbers;
  std::string line;
  while (numbers.empty() || numbers.size() < 1 + 2 * numbers[0]) {
    Block block;
    if (stored_left_ < block.size()) return malformed("cut short");
    auto more = read_block(block);
    if (!more) return std::move(more).error();
    if (!*more) return base::Error{base::Code::kDataLoss, "unexpected EOF"};
    stored_left_ -= block.size();
    for (const std::byte byte : block) {
      if (const char c = static_cast<char>(byte); c != '\n') {
        line += c;
        continue;
      }
      const auto value = tar::decimal(line);
      if (!value || (numbers.empty() && *value > kMaxSparseRegions)) return malformed("bad number");
      numbers.push_back(*value);
      line.clear();
      if (numbers.size() == 1 + 2 * numbers[0]) break;
    }
    if (line.size() > 20) return malformed("bad number");
  }
  for (std::size_t i = 1; i < numbers.size(); i += 2)
    RETURN_IF_ERROR(append(regions, numbers[i], numbers[i + 1]));
  return regions;
}

base::Result<void> TarReader::read_sparse(const Block& header, char type, const Records& pax,
                                          TarEntry& entry) {
  auto found = parse_pax_sparse(pax);
  if (!found) return std::move(found).error();
  if (type != 'S' && !found->present) return {};

  if (type == 'S') {
    const auto size = unsigned_field(header, kGnuRealSize);
    auto regions = read_gnu_sparse(header);
    if (!regions) return std::move(regions).error();
    if (!size) return malformed("bad size");
    entry.size = *size;
    entry.sparse = *std::move(regions);
  } else {
    if (found->map_in_data) {
      auto regions = read_pax_sparse_map();
      if (!regions) return std::move(regions).error();
      found->regions = *std::move(regions);
    }
    if (!found->size) return malformed("no file size");
    entry.size = *found->size;
    entry.sparse = std::move(found->regions);
    if (found->name) entry.name = *found->name;
  }
  entry.stored_size = stored_left_;
  return check(*entry.sparse, entry.size, entry.stored_size);
}

}  // namespace images
