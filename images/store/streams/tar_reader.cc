#include "images/store/streams/tar_reader.h"

#include <algorithm>
#include <limits>

#include "images/store/streams/tar_fields.h"

namespace images {

namespace {

constexpr std::string_view kXattrPrefix = "SCHILY.xattr.";

base::Error malformed(std::string_view what) {
  return {base::Code::kInvalidArgument, "archive/tar: invalid tar header: " + std::string(what)};
}

base::Error cut_short() { return {base::Code::kDataLoss, "unexpected EOF"}; }

bool is_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

std::uint64_t padding_after(std::uint64_t size) {
  return (TarReader::kBlockSize - size % TarReader::kBlockSize) % TarReader::kBlockSize;
}

std::optional<TarEntry::Type> type_of(char flag, std::string_view name) {
  switch (flag) {
    case '\0':
      return name.ends_with('/') ? TarEntry::Type::kDirectory : TarEntry::Type::kRegular;
    case '0':
    case '7':
    case 'S':
      return TarEntry::Type::kRegular;
    case '1':
      return TarEntry::Type::kHardLink;
    case '2':
      return TarEntry::Type::kSymlink;
    case '3':
      return TarEntry::Type::kCharDevice;
    case '4':
      return TarEntry::Type::kBlockDevice;
    case '5':
      return TarEntry::Type::kDirectory;
    case '6':
      return TarEntry::Type::kFifo;
    default:
      return std::nullopt;
  }
}

template <typename T>
base::Result<void> assign_number(std::optional<std::int64_t> value, std::string_view what, T& out) {
  if (!value || *value < 0 || static_cast<std::uint64_t>(*value) > std::numeric_limits<T>::max())
    return malformed(what);
  out = static_cast<T>(*value);
  return {};
}

/// The fixed fields of a header, before extensions.
base::Result<TarEntry> parse_fixed(std::span<const std::byte> header) {
  TarEntry entry;
  entry.name = tar::text(header, tar::kName);
  entry.link_name = tar::text(header, tar::kLinkName);
  // "ustar\0" has the prefix field; GNU's "ustar  " has other things there.
  if (tar::text(header, tar::kMagic) == "ustar") {
    if (const std::string prefix = tar::text(header, tar::kPrefix); !prefix.empty())
      entry.name = prefix + "/" + entry.name;
  }
  std::uint32_t mode = 0;
  RETURN_IF_ERROR(assign_number(tar::number(header, tar::kMode), "mode", mode));
  entry.mode = mode & 07777u;
  entry.raw.mode = mode;
  const char type = static_cast<char>(header[tar::kTypeFlag.offset]);
  entry.raw.type_flag = type == '\0' ? '0' : type;
  if (tar::text(header, tar::kMagic).starts_with("ustar")) {
    entry.raw.user_name = tar::text(header, tar::kUserName);
    entry.raw.group_name = tar::text(header, tar::kGroupName);
  }
  RETURN_IF_ERROR(assign_number(tar::number(header, tar::kUid), "uid", entry.uid));
  RETURN_IF_ERROR(assign_number(tar::number(header, tar::kGid), "gid", entry.gid));
  RETURN_IF_ERROR(assign_number(tar::number(header, tar::kSize), "size", entry.size));
  const auto mtime = tar::number(header, tar::kMtime);
  if (!mtime) return malformed("mtime");
  entry.mtime_seconds = *mtime;
  const char flag = static_cast<char>(header[tar::kTypeFlag.offset]);
  if (flag == '3' || flag == '4') {
    RETURN_IF_ERROR(
        assign_number(tar::number(header, tar::kDeviceMajor), "device major", entry.device_major));
    RETURN_IF_ERROR(
        assign_number(tar::number(header, tar::kDeviceMinor), "device minor", entry.device_minor));
  }
  return entry;
}

base::Result<void> apply_pax(const std::string& key, const std::string& value, TarEntry& entry) {
  const auto to_number = [&](auto& out) -> base::Result<void> {
    const auto parsed = tar::decimal(value);
    if (!parsed || *parsed > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      return malformed("pax " + key);
    return assign_number(static_cast<std::int64_t>(*parsed), "pax " + key, out);
  };
  if (value.empty()) return {};  // an empty value takes the record back
  if (key == "path") {
    entry.name = value;
  } else if (key == "linkpath") {
    entry.link_name = value;
  } else if (key == "size") {
    return to_number(entry.size);
  } else if (key == "uid") {
    return to_number(entry.uid);
  } else if (key == "gid") {
    return to_number(entry.gid);
  } else if (key == "uname") {
    entry.raw.user_name = value;
  } else if (key == "gname") {
    entry.raw.group_name = value;
  } else if (key == "mtime") {
    const auto time = tar::parse_time(value);
    if (!time) return malformed("pax mtime");
    entry.mtime_seconds = time->seconds;
    entry.mtime_nanoseconds = time->nanoseconds;
  } else if (key.starts_with(kXattrPrefix)) {
    entry.xattrs[key.substr(kXattrPrefix.size())] = value;
  }
  return {};
}

}  // namespace

base::Result<void> TarReader::literal(std::span<const std::byte> bytes) {
  position_ += bytes.size();
  return observer_ ? observer_->on_literal(bytes) : base::Result<void>();
}

// False at a clean end of the stream.
base::Result<bool> TarReader::read_block(Block& block) {
  auto got = read_fully(source_, block);
  if (!got) return std::move(got).error();
  if (*got == 0) return false;
  RETURN_IF_ERROR(literal(std::span(block).first(*got)));
  if (*got < block.size()) return cut_short();
  return true;
}

// False at the end of the archive: two zero blocks, or the end of the stream.
base::Result<bool> TarReader::read_header(Block& block) {
  auto more = read_block(block);
  if (!more || !*more) return more;
  if (!is_zero(block)) {
    if (!tar::checksum_matches(block)) return malformed("checksum");
    return true;
  }
  more = read_block(block);
  if (!more) return more;
  if (*more && !is_zero(block)) return malformed("one zero block");
  return false;
}

base::Result<void> TarReader::drop(std::uint64_t count) {
  if (!observer_) {
    auto skipped = source_.skip(count);
    if (!skipped) return std::move(skipped).error();
    position_ += *skipped;
    return *skipped == count ? base::Result<void>() : cut_short();
  }
  Block scratch;
  while (count > 0) {
    const auto chunk = std::span(scratch).first(std::min<std::uint64_t>(count, scratch.size()));
    auto got = source_.read(chunk);
    if (!got) return std::move(got).error();
    if (*got == 0) return cut_short();
    RETURN_IF_ERROR(literal(chunk.first(*got)));
    count -= *got;
  }
  return {};
}

base::Result<void> TarReader::drop_current() {
  RETURN_IF_ERROR(drop(stored_left_));
  stored_left_ = 0;
  RETURN_IF_ERROR(drop(padding_left_));
  padding_left_ = 0;
  return {};
}

base::Result<std::string> TarReader::read_special(std::uint64_t size) {
  if (size > kMaxSpecialBytes) return malformed("extension header too large");
  std::string text(size, '\0');
  const auto bytes = std::as_writable_bytes(std::span(text));
  auto got = read_fully(source_, bytes);
  if (!got) return std::move(got).error();
  RETURN_IF_ERROR(literal(bytes.first(*got)));
  if (*got < size) return cut_short();
  RETURN_IF_ERROR(drop(padding_after(size)));
  return text;
}

// True if the header of this type was an extension, now read.
base::Result<bool> TarReader::collect_extension(char type, std::uint64_t size,
                                                Extensions& extensions) {
  if (type != 'x' && type != 'g' && type != 'L' && type != 'K') return false;
  auto text = read_special(size);
  if (!text) return std::move(text).error();
  if (type == 'g') return true;  // defaults for what follows: Docker ignores them too
  if (type == 'x') {
    auto records = tar::parse_pax(*text);
    if (!records) return std::move(records).error();
    extensions.pax = *std::move(records);
  } else {
    text->resize(std::min(text->find('\0'), text->size()));
    (type == 'L' ? extensions.long_name : extensions.long_link) = *std::move(text);
  }
  return true;
}

base::Result<TarEntry> TarReader::parse_entry(const Block& header, const Extensions& extensions) {
  auto fixed = parse_fixed(header);
  if (!fixed) return fixed;
  TarEntry entry = *std::move(fixed);
  if (extensions.long_name) entry.name = *extensions.long_name;
  if (extensions.long_link) entry.link_name = *extensions.long_link;
  for (const auto& [key, value] : extensions.pax) RETURN_IF_ERROR(apply_pax(key, value, entry));
  const char flag = static_cast<char>(header[tar::kTypeFlag.offset]);
  const auto type = type_of(flag, entry.name);
  if (!type)
    return base::Error{base::Code::kInvalidArgument,
                       "unhandled tar header type " + std::to_string(flag) + " of " + entry.name};
  entry.type = *type;
  if (entry.type != TarEntry::Type::kRegular) entry.size = 0;  // as Go's reader has it
  entry.stored_size = entry.size;
  stored_left_ = entry.stored_size;
  padding_left_ = padding_after(entry.stored_size);
  if (entry.type == TarEntry::Type::kRegular)
    RETURN_IF_ERROR(read_sparse(header, flag, extensions.pax, entry));
  if (entry.name.find('\0') != std::string::npos || entry.link_name.find('\0') != std::string::npos)
    return malformed("NUL in a name");
  return entry;
}

base::Result<std::optional<TarEntry>> TarReader::next() {
  RETURN_IF_ERROR(drop_current());
  if (ended_) return std::optional<TarEntry>();
  Extensions extensions;
  while (true) {
    Block header;
    auto more = read_header(header);
    if (!more) return std::move(more).error();
    if (!*more) {
      ended_ = true;
      return std::optional<TarEntry>();
    }
    const char type = static_cast<char>(header[tar::kTypeFlag.offset]);
    std::uint64_t size = 0;
    RETURN_IF_ERROR(assign_number(tar::number(header, tar::kSize), "size", size));
    auto extension = collect_extension(type, size, extensions);
    if (!extension) return std::move(extension).error();
    if (*extension) continue;
    auto entry = parse_entry(header, extensions);
    if (!entry) return std::move(entry).error();
    return std::optional<TarEntry>(*std::move(entry));
  }
}

base::Result<std::size_t> TarReader::read(std::span<std::byte> out) {
  const std::span wanted = out.first(std::min<std::uint64_t>(out.size(), stored_left_));
  if (wanted.empty()) return std::size_t{0};
  auto got = source_.read(wanted);
  if (!got) return got;
  if (*got == 0) return cut_short();
  stored_left_ -= *got;
  position_ += *got;
  return got;
}

base::Result<void> TarReader::finish() {
  RETURN_IF_ERROR(drop_current());
  Block scratch;
  while (true) {
    auto got = source_.read(scratch);
    if (!got) return std::move(got).error();
    if (*got == 0) return {};
    RETURN_IF_ERROR(literal(std::span(scratch).first(*got)));
  }
}

}  // namespace images
