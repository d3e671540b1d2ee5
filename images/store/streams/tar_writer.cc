#include "images/store/streams/tar_writer.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>

#include "images/store/streams/tar_fields.h"

namespace images {

namespace {

constexpr std::size_t kBlockSize = 512;
constexpr std::uint64_t kMaxOctalSize = (std::uint64_t{1} << 33) - 1;

using Block = std::array<std::byte, kBlockSize>;

void put_text(Block& block, tar::Field field, std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  std::copy(bytes.begin(), bytes.end(), block.begin() + static_cast<std::ptrdiff_t>(field.offset));
}

void put_octal(Block& block, tar::Field field, std::uint64_t value) {
  std::string text(field.size - 1, '0');
  for (std::size_t i = text.size(); i > 0 && value > 0; --i, value >>= 3)
    text[i - 1] = static_cast<char>('0' + (value & 7u));
  put_text(block, field, text);
}

void put_size(Block& block, std::uint64_t size) {
  if (size <= kMaxOctalSize) return put_octal(block, tar::kSize, size);
  for (std::size_t i = 0; i < 8; ++i, size >>= 8)
    block[tar::kSize.offset + tar::kSize.size - 1 - i] = static_cast<std::byte>(size & 0xffu);
  block[tar::kSize.offset] = std::byte{0x80};
}

Block header(std::string_view name, std::uint64_t size) {
  Block block{};
  put_text(block, tar::kName, name);
  put_octal(block, tar::kMode, 0644);
  put_octal(block, tar::kUid, 0);
  put_octal(block, tar::kGid, 0);
  put_size(block, size);
  put_octal(block, tar::kMtime, 0);
  put_text(block, tar::kTypeFlag, "0");
  put_text(block, tar::kMagic, std::string_view("ustar\00000", 8));
  put_text(block, tar::kChecksum, "        ");
  std::uint64_t sum = 0;
  for (const std::byte byte : block) sum += std::to_integer<std::uint64_t>(byte);
  put_octal(block, {tar::kChecksum.offset, 7}, sum);
  block[tar::kChecksum.offset + 6] = std::byte{0};
  return block;
}

}  // namespace

base::Result<void> TarWriter::pad() {
  const Block zeros{};
  const std::uint64_t count = std::exchange(padding_, 0);
  return count == 0 ? base::Result<void>() : sink_.write(std::span(zeros).first(count));
}

base::Result<void> TarWriter::begin(std::string_view name, std::uint64_t size) {
  if (left_ != 0 || name.size() > tar::kName.size)
    return base::Error{base::Code::kInternal, "tar member out of order, or its name too long"};
  RETURN_IF_ERROR(sink_.write(header(name, size)));
  left_ = size;
  padding_ = (kBlockSize - size % kBlockSize) % kBlockSize;
  return {};
}

base::Result<void> TarWriter::write(std::span<const std::byte> bytes) {
  if (bytes.size() > left_) return base::Error{base::Code::kInternal, "tar member too long"};
  left_ -= bytes.size();
  RETURN_IF_ERROR(sink_.write(bytes));
  return left_ == 0 ? pad() : base::Result<void>();
}

base::Result<void> TarWriter::add(std::string_view name, std::string_view content) {
  RETURN_IF_ERROR(begin(name, content.size()));
  return content.empty() ? base::Result<void>() : write(std::as_bytes(std::span(content)));
}

base::Result<void> TarWriter::finish() {
  const std::array<std::byte, 2 * kBlockSize> zeros{};
  if (left_ != 0) return base::Error{base::Code::kInternal, "tar member too short"};
  return sink_.write(zeros);
}

}  // namespace images
