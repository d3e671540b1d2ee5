#include "api/engine/files/tar_stream.h"

#include <archive.h>
#include <archive_entry.h>

#include <array>
#include <cerrno>
#include <optional>
#include <string>

#include "api/engine/files/tar_common.h"
#include "guest-init/protocol/files.h"
#include "vmm/base/scope_exit.h"
#include "vmm/base/wire.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace files = protocol::files;

namespace {

std::optional<files::EntryKind> kind_of(archive_entry* entry) {
  if (archive_entry_hardlink(entry) != nullptr) return files::EntryKind::kHardLink;
  switch (archive_entry_filetype(entry)) {
    case AE_IFREG:
      return files::EntryKind::kFile;
    case AE_IFDIR:
      return files::EntryKind::kDirectory;
    case AE_IFLNK:
      return files::EntryKind::kSymbolicLink;
    case AE_IFCHR:
      return files::EntryKind::kCharacterDevice;
    case AE_IFBLK:
      return files::EntryKind::kBlockDevice;
    case AE_IFIFO:
      return files::EntryKind::kFifo;
    default:
      return std::nullopt;
  }
}

std::vector<files::ExtendedAttribute> attributes_of(archive_entry* entry) {
  constexpr std::size_t kLargest = 64u << 10;
  std::vector<files::ExtendedAttribute> attributes;
  archive_entry_xattr_reset(entry);
  const char* name = nullptr;
  const void* value = nullptr;
  std::size_t size = 0;
  while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
    if (name == nullptr || size > kLargest) continue;
    const auto* bytes = static_cast<const std::byte*>(value);
    attributes.push_back({.name = name, .value = {bytes, bytes + size}});
  }
  return attributes;
}

Error bad_archive(std::string reason) {
  return Error{Code::kInvalidArgument, "invalid archive: " + std::move(reason)};
}

template <typename M>
Result<void> send(images::ByteSink& sink, const M& message) {
  return sink.write(wire::frame(message));
}

Result<files::Entry> convert(archive_entry* source) {
  const char* path = archive_entry_pathname(source);
  files::Entry entry;
  entry.path = path == nullptr ? "" : path;
  if (!is_usable(entry.path)) return bad_archive("an entry without a usable name");
  const auto kind = kind_of(source);
  if (!kind) return bad_archive(entry.path.substr(0, 256) + ": an entry of an unknown type");
  entry.kind = *kind;
  entry.mode = archive_entry_perm(source) & 07777u;
  entry.user = static_cast<std::uint32_t>(archive_entry_uid(source));
  entry.group = static_cast<std::uint32_t>(archive_entry_gid(source));
  entry.modified_ns = file_time_ns(archive_entry_mtime(source), archive_entry_mtime_nsec(source));
  if (*kind == files::EntryKind::kFile)
    entry.size = static_cast<std::uint64_t>(std::max<la_int64_t>(archive_entry_size(source), 0));
  const char* link = *kind == files::EntryKind::kHardLink       ? archive_entry_hardlink(source)
                     : *kind == files::EntryKind::kSymbolicLink ? archive_entry_symlink(source)
                                                                : nullptr;
  if (link != nullptr) entry.link = link;
  if (entry.link.size() > kLongestTarPath) return bad_archive("a link's target is too long");
  entry.device_major = static_cast<std::uint32_t>(archive_entry_rdevmajor(source));
  entry.device_minor = static_cast<std::uint32_t>(archive_entry_rdevminor(source));
  entry.attributes = attributes_of(source);
  return entry;
}

Result<void> send_contents(archive* source, images::ByteSink& sink, std::uint64_t size) {
  files::Data data;
  while (size > 0) {
    data.bytes.resize(static_cast<std::size_t>(std::min<std::uint64_t>(size, files::kDataBytes)));
    const la_ssize_t got = archive_read_data(source, data.bytes.data(), data.bytes.size());
    if (got < 0) return bad_archive(reason_of(source));
    if (got == 0) return bad_archive("a file's contents are missing");
    data.bytes.resize(static_cast<std::size_t>(got));
    RETURN_IF_ERROR(send(sink, data));
    size -= static_cast<std::uint64_t>(got);
  }
  return {};
}

/// What libarchive reads from.
struct Input {
  images::ByteSource& source;
  std::vector<std::byte> block = std::vector<std::byte>(64u << 10);
  std::optional<Error> failure = {};
};

la_ssize_t read_block(archive* reader, void* from, const void** block) {
  Input& input = *static_cast<Input*>(from);
  auto got = input.source.read(input.block);
  if (!got) {
    input.failure = std::move(got).error();
    archive_set_error(reader, EIO, "the archive cannot be read on");
    return -1;
  }
  *block = input.block.data();
  return static_cast<la_ssize_t>(*got);
}

Result<void> convert_all(archive* source, images::ByteSink& out) {
  for (;;) {
    archive_entry* row = nullptr;
    const int result = archive_read_next_header(source, &row);
    if (result == ARCHIVE_EOF) return send(out, files::End{});
    if (result < ARCHIVE_WARN) return bad_archive(reason_of(source));
    const auto entry = convert(row);
    if (!entry) return entry.error();
    RETURN_IF_ERROR(send(out, *entry));
    RETURN_IF_ERROR(send_contents(source, out, entry->size));
  }
}

}  // namespace

Result<void> tar_to_frames(images::ByteSource& in, images::ByteSink& out) {
  archive* const source = archive_read_new();
  if (source == nullptr) return Error{Code::kInternal, "archive_read_new"};
  const base::ScopeExit free_source([&] { archive_read_free(source); });
  // By name: libarchive would run programs for some others.
  archive_read_support_filter_gzip(source);
  archive_read_support_filter_bzip2(source);
  archive_read_support_filter_xz(source);
  archive_read_support_filter_zstd(source);
  archive_read_support_format_tar(source);
  archive_read_support_format_empty(source);
  Input input{.source = in};
  Result<void> done;
  if (archive_read_open(source, &input, nullptr, read_block, nullptr) != ARCHIVE_OK)
    done = bad_archive(reason_of(source));
  if (done) done = convert_all(source, out);
  if (input.failure) return *std::move(input.failure);
  return done;
}

}  // namespace engine
