#include "api/engine/files/tar_writer.h"

#include <archive.h>
#include <archive_entry.h>

#include <cerrno>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "api/engine/files/tar_common.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace files = protocol::files;

namespace {

constexpr std::string_view kWhiteoutMark = ".wh.";

std::optional<unsigned> file_type_of(files::EntryKind kind) {
  switch (kind) {
    case files::EntryKind::kFile:
    case files::EntryKind::kHardLink:
    case files::EntryKind::kWhiteout:
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

bool has_marked_name(std::string_view path) {
  return path.starts_with(kWhiteoutMark) || path.find("/.wh.") != std::string_view::npos;
}

/// "a/b" -> "a/.wh.b"
std::string whiteout_path(const std::string& path) {
  const std::size_t name = path.rfind('/') + 1;  // npos + 1 is 0
  return path.substr(0, name) + std::string(kWhiteoutMark) + path.substr(name);
}

}  // namespace

Result<std::unique_ptr<TarWriter>> TarWriter::create(Form form) {
  std::unique_ptr<TarWriter> writer(new TarWriter(form));
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
      return Error{Code::kDataLoss, "the guest sent an unexpected frame among its files"};
  }
}

Result<void> TarWriter::add_entry(const files::Entry& entry) {
  const auto type = file_type_of(entry.kind);
  const bool is_link =
      entry.kind == files::EntryKind::kHardLink || entry.kind == files::EntryKind::kSymbolicLink;
  const bool is_whiteout = entry.kind == files::EntryKind::kWhiteout;
  const bool fits = form_ == Form::kLayer ? !has_marked_name(entry.path) : !is_whiteout;
  if (missing_ > 0 || !type || !fits || !is_usable(entry.path) ||
      (is_link && !is_usable(entry.link)) || entry.size > INT64_MAX)
    return Error{Code::kDataLoss, "the guest sent a file with a bad name, kind, link or size"};
  const std::unique_ptr<archive_entry, void (*)(archive_entry*)> row(archive_entry_new(),
                                                                     archive_entry_free);
  const bool is_directory = entry.kind == files::EntryKind::kDirectory;
  const std::string path = is_whiteout ? whiteout_path(entry.path) : entry.path;
  archive_entry_set_pathname(row.get(), (path + (is_directory ? "/" : "")).c_str());
  archive_entry_set_filetype(row.get(), *type);
  archive_entry_set_perm(row.get(), static_cast<mode_t>(entry.mode & 07777u));
  archive_entry_set_uid(row.get(), entry.user);
  archive_entry_set_gid(row.get(), entry.group);
  archive_entry_set_mtime(row.get(), entry.modified_ns / kNanosecondsASecond,
                          static_cast<long>(entry.modified_ns % kNanosecondsASecond));
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

}  // namespace engine
