// The on-disk structures of EROFS, as far as layers use them: uncompressed, 4 KiB blocks.
// Spec: the kernel's Documentation/filesystems/erofs.rst. Little endian throughout.
#pragma once

#include <cstdint>

namespace images::erofs {

inline constexpr std::uint64_t kBlockSize = 4096;
inline constexpr unsigned kBlockBits = 12;
inline constexpr std::uint64_t kSuperblockOffset = 1024;
inline constexpr std::uint32_t kMagic = 0xe0f5e1e2;
inline constexpr std::uint32_t kCompatChecksum = 1;
inline constexpr std::uint32_t kCompatMtime = 2;
inline constexpr std::uint64_t kSlotSize = 32;  // inodes are addressed in these from meta_block

struct Superblock {
  std::uint32_t magic = kMagic;
  std::uint32_t checksum = 0;  // crc32c from here to the end of the block, this field being 0
  std::uint32_t feature_compat = 0;
  std::uint8_t block_bits = kBlockBits;
  std::uint8_t extension_slots = 0;
  std::uint16_t root_nid = 0;
  std::uint64_t inodes = 0;
  std::uint64_t build_time = 0;
  std::uint32_t build_time_nanoseconds = 0;
  std::uint32_t blocks = 0;
  std::uint32_t meta_block = 0;
  std::uint32_t xattr_block = 0;
  std::uint8_t uuid[16] = {};
  std::uint8_t volume_name[16] = {};
  std::uint32_t feature_incompat = 0;
  std::uint8_t unused[44] = {};
};
static_assert(sizeof(Superblock) == 128);

enum class DataLayout : std::uint16_t { kPlain = 0, kInline = 2 };

struct Inode {               // the extended form
  std::uint16_t format = 0;  // bit 0: extended; bits 1-3: DataLayout
  std::uint16_t xattr_count = 0;
  std::uint16_t mode = 0;
  std::uint16_t reserved = 0;
  std::uint64_t size = 0;
  std::uint32_t block_or_device = 0;
  std::uint32_t number = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::int64_t mtime = 0;
  std::uint32_t mtime_nanoseconds = 0;
  std::uint32_t links = 0;
  std::uint8_t reserved2[16] = {};
};
static_assert(sizeof(Inode) == 64);

struct [[gnu::packed]] Dirent {
  std::uint64_t nid = 0;
  std::uint16_t name_offset = 0;  // in its block; the first one tells how many entries there are
  std::uint8_t type = 0;
  std::uint8_t reserved = 0;
};
static_assert(sizeof(Dirent) == 12);

struct XattrHeader {
  std::uint32_t name_filter = 0;
  std::uint8_t shared_count = 0;
  std::uint8_t reserved[7] = {};
};
static_assert(sizeof(XattrHeader) == 12);

struct XattrEntry {  // followed by the name's rest, the value, padding to 4 bytes
  std::uint8_t name_length = 0;
  std::uint8_t name_index = 0;
  std::uint16_t value_size = 0;
};
static_assert(sizeof(XattrEntry) == 4);

}  // namespace images::erofs
