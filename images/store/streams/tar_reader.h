// TarReader: walks a tar stream - ustar, pax (POSIX.1-2001), GNU long names and all GNU sparse
// formats - with the meaning that Docker's own reader gives it.
//
// Use: next() until it returns no entry; between calls, read() or skip the entry's stored bytes;
// then finish(). For a sparse file the stored bytes are those of `sparse`'s regions, in order.
// Trust: every byte is hostile. Memory is bounded by kMaxSpecialBytes and kMaxSparseRegions.
// Errors: kInvalidArgument for a malformed stream, kDataLoss for one that is cut short.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "images/store/streams/byte_source.h"

namespace images {

struct SparseRegion {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

struct TarEntry {
  enum class Type { kRegular, kHardLink, kSymlink, kCharDevice, kBlockDevice, kDirectory, kFifo };

  Type type = Type::kRegular;
  std::string name;        // as written, not cleaned
  std::string link_name;   // of links
  std::uint32_t mode = 0;  // permission bits, 07777
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::int64_t mtime_seconds = 0;
  std::uint32_t mtime_nanoseconds = 0;
  std::uint32_t device_major = 0;
  std::uint32_t device_minor = 0;
  std::uint64_t size = 0;         // of the file
  std::uint64_t stored_size = 0;  // of its bytes in the stream; differs for sparse files
  std::optional<std::vector<SparseRegion>> sparse;
  std::map<std::string, std::string> xattrs;

  /// As the header has it: what a build's cache is asked with.
  struct Raw {
    std::int64_t mode = 0;  // with whatever other bits its writer has set
    char type_flag = '0';
    std::string user_name;
    std::string group_name;
  } raw;
};

class TarReader {
 public:
  static constexpr std::size_t kBlockSize = 512;
  static constexpr std::uint64_t kMaxSpecialBytes = 1u << 20;  // one pax header or long name
  static constexpr std::size_t kMaxSparseRegions = 1u << 18;

  /// Sees every byte of the stream that read() does not return, in stream order with them.
  class LiteralObserver {
   public:
    virtual ~LiteralObserver() = default;
    virtual base::Result<void> on_literal(std::span<const std::byte> bytes) = 0;
  };

  /// `source` and `observer` (may be null) outlive the reader.
  explicit TarReader(ByteSource& source, LiteralObserver* observer = nullptr)
      : source_(source), observer_(observer) {}

  /// The next file, after dropping what is left of the current one; nullopt at the end.
  base::Result<std::optional<TarEntry>> next();
  /// The current entry's stored bytes; 0 at their end.
  base::Result<std::size_t> read(std::span<std::byte> out);
  /// Reads whatever follows the end marker, to the end of the stream.
  base::Result<void> finish();

  /// Bytes of the stream consumed so far: after next(), where the stored bytes begin.
  std::uint64_t position() const { return position_; }

 private:
  using Block = std::array<std::byte, kBlockSize>;
  using Records = std::vector<std::pair<std::string, std::string>>;

  /// What extension headers said about the file that follows.
  struct Extensions {
    Records pax;
    std::optional<std::string> long_name;
    std::optional<std::string> long_link;
  };

  base::Result<bool> read_block(Block& block);
  base::Result<bool> read_header(Block& block);
  base::Result<void> literal(std::span<const std::byte> bytes);
  base::Result<void> drop(std::uint64_t count);
  base::Result<void> drop_current();
  base::Result<std::string> read_special(std::uint64_t size);
  base::Result<bool> collect_extension(char type, std::uint64_t size, Extensions& extensions);
  base::Result<TarEntry> parse_entry(const Block& header, const Extensions& extensions);
  base::Result<void> read_sparse(const Block& header, char type, const Records& pax,
                                 TarEntry& entry);
  base::Result<std::vector<SparseRegion>> read_gnu_sparse(const Block& header);
  base::Result<std::vector<SparseRegion>> read_pax_sparse_map();

  ByteSource& source_;
  LiteralObserver* observer_;
  std::uint64_t position_ = 0;
  std::uint64_t stored_left_ = 0;   // of the current entry
  std::uint64_t padding_left_ = 0;  // after it
  bool ended_ = false;
};

}  // namespace images
