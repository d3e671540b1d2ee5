#include "api/docker/tar_stream.h"

#include <archive.h>
#include <archive_entry.h>

#include <array>
#include <cerrno>
#include <optional>
#include <string>

#include "api/docker/byte_bridge.h"
#include "vmm/base/scope_exit.h"

namespace docker {

using base::Code;
using base::Error;
using base::Result;

namespace files = protocol::files;

namespace {

constexpr std::size_t kLongestPath = 64u << 10;
constexpr std::int64_t kSecond = 1'000'000'000;

std::string reason_of(archive* source) {
  const char* text = archive_error_string(source);
  return text == nullptr ? "unknown error" : text;
}

std::optional<unsigned> file_type_of(files::EntryKind kind) {
  switch (kind) {
    case files::EntryKind::kFile:
    case files::EntryKind::kHardLink:
      return AE_IFREG;
    case files::EntryKind::kDirectory:
      return AE_IFDIR;
    case files::EntryKind::kSymbolicLink:
      return AE_IFLNK;
    case files::EntryKind::kCharacterDevice:
      return AE_IFCHR;
    case files::EntryKind::kBlockDevice:
      return AE_IFBLK;
    case files::EntryKind::kFifo:
      return AE_IFIFO;
  }
  return std::nullopt;
}

bool is_usable(const std::string& text) {
  return !text.empty() && text.size() <= kLongestPath && text.find('\0') == std::string::npos;
}

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
Result<void> send(BridgeSink& sink, const M& message) {
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
  entry.modified_ns = archive_entry_mtime(source) * kSecond + archive_entry_mtime_nsec(source);
  if (*kind == files::EntryKind::kFile)
    entry.size = static_cast<std::uint64_t>(std::max<la_int64_t>(archive_entry_size(source), 0));
  const char* link = *kind == files::EntryKind::kHardLink       ? archive_entry_hardlink(source)
                     : *kind == files::EntryKind::kSymbolicLink ? archive_entry_symlink(source)
                                                                : nullptr;
  if (link != nullptr) entry.link = link;
  if (entry.link.size() > kLongestPath) return bad_archive("a link's target is too long");
  entry.device_major = static_cast<std::uint32_t>(archive_entry_rdevmajor(source));
  entry.device_minor = static_cast<std::uint32_t>(archive_entry_rdevminor(source));
  entry.attributes = attributes_of(source);
  return entry;
}

Result<void> send_contents(archive* source, BridgeSink& sink, std::uint64_t size) {
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

}  // namespace

Result<std::unique_ptr<TarWriter>> TarWriter::create() {
  std::unique_ptr<TarWriter> writer(new TarWriter);
  writer->archive_ = archive_write_new();
  archive* const target = writer->archive_;
  if (target == nullptr) return Error{Code::kInternal, "archive_write_new"};
  RETURN_IF_ERROR(writer->check(archive_write_set_format_pax_restricted(target)));
  archive_write_set_bytes_per_block(target, 0);
  RETURN_IF_ERROR(writer->check(
      archive_write_open(target, writer.get(), nullptr, &TarWriter::append, nullptr)));
  return writer;
}

TarWriter::~TarWriter() {
  if (archive_ == nullptr) return;
  // Freeing fills an unfinished file up with zeros, as many as are missing: they are refused.
  // (archive_write_fail() would leave memory behind.)
  abandoned_ = true;
  archive_write_free(archive_);
}

ssize_t TarWriter::append(archive* source, void* self, const void* data, std::size_t size) {
  auto& writer = *static_cast<TarWriter*>(self);
  if (writer.abandoned_) {
    archive_set_error(source, ECANCELED, "the archive is abandoned");
    return ARCHIVE_FATAL;
  }
  const auto* bytes = static_cast<const std::byte*>(data);
  writer.out_.insert(writer.out_.end(), bytes, bytes + size);
  return static_cast<ssize_t>(size);
}

Result<void> TarWriter::check(int result) {
  if (result >= ARCHIVE_WARN) return {};
  return Error{Code::kDataLoss, "tar: " + reason_of(archive_)};
}

std::vector<std::byte> TarWriter::take() { return std::exchange(out_, {}); }

Result<void> TarWriter::add(const wire::RawFrame& frame) {
  if (complete_) return Error{Code::kDataLoss, "the guest sent files after the end"};
  switch (static_cast<files::FrameType>(frame.type)) {
    case files::FrameType::kEntry: {
      const auto entry = wire::decode<files::Entry>(frame.payload);
      if (!entry) return entry.error();
      return add_entry(*entry);
    }
    case files::FrameType::kData: {
      const auto data = wire::decode<files::Data>(frame.payload);
      if (!data) return data.error();
      return add_data(data->bytes);
    }
    case files::FrameType::kEnd:
      return finish();
    default:
      return Error{Code::kDataLoss, "the guest sent what is no file"};
  }
}

Result<void> TarWriter::add_entry(const files::Entry& entry) {
  const auto type = file_type_of(entry.kind);
  const bool is_link =
      entry.kind == files::EntryKind::kHardLink || entry.kind == files::EntryKind::kSymbolicLink;
  if (missing_ > 0 || !type || !is_usable(entry.path) || (is_link && !is_usable(entry.link)) ||
      entry.size > INT64_MAX)
    return Error{Code::kDataLoss, "the guest sent a file that is none"};
  const std::unique_ptr<archive_entry, void (*)(archive_entry*)> row(archive_entry_new(),
                                                                     archive_entry_free);
  const bool is_directory = entry.kind == files::EntryKind::kDirectory;
  archive_entry_set_pathname(row.get(), (entry.path + (is_directory ? "/" : "")).c_str());
  archive_entry_set_filetype(row.get(), *type);
  archive_entry_set_perm(row.get(), static_cast<mode_t>(entry.mode & 07777u));
  archive_entry_set_uid(row.get(), entry.user);
  archive_entry_set_gid(row.get(), entry.group);
  archive_entry_set_mtime(row.get(), entry.modified_ns / kSecond,
                          static_cast<long>(entry.modified_ns % kSecond));
  const bool is_file = entry.kind == files::EntryKind::kFile;
  archive_entry_set_size(row.get(), is_file ? static_cast<la_int64_t>(entry.size) : 0);
  if (entry.kind == files::EntryKind::kHardLink)
    archive_entry_set_hardlink(row.get(), entry.link.c_str());
  if (entry.kind == files::EntryKind::kSymbolicLink)
    archive_entry_set_symlink(row.get(), entry.link.c_str());
  archive_entry_set_rdevmajor(row.get(), entry.device_major);
  archive_entry_set_rdevminor(row.get(), entry.device_minor);
  for (const files::ExtendedAttribute& attribute : entry.attributes)
    if (is_usable(attribute.name))
      archive_entry_xattr_add_entry(row.get(), attribute.name.c_str(), attribute.value.data(),
                                    attribute.value.size());
  RETURN_IF_ERROR(check(archive_write_header(archive_, row.get())));
  missing_ = is_file ? entry.size : 0;
  return {};
}

Result<void> TarWriter::add_data(std::span<const std::byte> bytes) {
  if (bytes.empty() || bytes.size() > missing_)
    return Error{Code::kDataLoss, "the guest sent contents that belong to no file"};
  missing_ -= bytes.size();
  const la_ssize_t written = archive_write_data(archive_, bytes.data(), bytes.size());
  if (written == static_cast<la_ssize_t>(bytes.size())) return {};
  return Error{Code::kDataLoss, "tar: " + reason_of(archive_)};
}

Result<void> TarWriter::finish() {
  if (missing_ > 0) return Error{Code::kDataLoss, "the guest ended in the middle of a file"};
  complete_ = true;
  return check(archive_write_close(archive_));
}

Result<void> tar_to_frames(int in, int out) {
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
  constexpr std::size_t kBlock = 64u << 10;
  if (archive_read_open_fd(source, in, kBlock) != ARCHIVE_OK) return bad_archive(reason_of(source));
  BridgeSink sink(out);
  for (;;) {
    archive_entry* row = nullptr;
    const int result = archive_read_next_header(source, &row);
    if (result == ARCHIVE_EOF) return send(sink, files::End{});
    if (result < ARCHIVE_WARN) return bad_archive(reason_of(source));
    const auto entry = convert(row);
    if (!entry) return entry.error();
    RETURN_IF_ERROR(send(sink, *entry));
    RETURN_IF_ERROR(send_contents(source, sink, entry->size));
  }
}

}  // namespace docker
