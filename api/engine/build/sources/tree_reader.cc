#include "api/engine/build/sources/tree_reader.h"

#include <utility>

#include "images/dockerfile/text.h"
#include "images/store/streams/byte_source.h"

namespace engine::build {

using base::Code;
using base::Error;
using base::Result;

namespace files = protocol::files;

Result<void> TreeReader::take_entry(const files::Entry& entry) {
  RETURN_IF_ERROR(finish());
  node_ = TreeNode{};
  node_->entry = entry;
  node_->entry.path = dockerfile::clean_path(prefix_ + "/" + entry.path).substr(1);
  if (entry.kind == files::EntryKind::kHardLink)
    node_->entry.link = dockerfile::clean_path(prefix_ + "/" + entry.link).substr(1);
  node_->offset = written_;
  missing_ = entry.kind == files::EntryKind::kFile ? entry.size : 0;
  const bool directory = entry.kind == files::EntryKind::kDirectory;
  const std::string header =
      summed_header(node_->entry, raw_of(node_->entry), node_->entry.path + (directory ? "/" : ""));
  hash_ = images::Sha256();
  hash_.update(std::as_bytes(std::span(header)));
  return {};
}

Result<void> TreeReader::take(const wire::RawFrame& frame) {
  if (static_cast<files::FrameType>(frame.type) == files::FrameType::kEntry) {
    const auto entry = wire::decode<files::Entry>(frame.payload);
    if (!entry) return entry.error();
    return take_entry(*entry);
  }
  const auto data = wire::decode<files::Data>(frame.payload);
  if (!data || data->bytes.size() > missing_)
    return Error{Code::kDataLoss, "the guest sent a frame that is no part of a file"};
  if (written_ + data->bytes.size() > kMostBytes)
    return Error{Code::kResourceExhausted, "the files to copy are larger than the limit"};
  missing_ -= data->bytes.size();
  written_ += data->bytes.size();
  hash_.update(data->bytes);
  return images::FdSink(file_->get()).write(data->bytes);
}

Result<void> TreeReader::finish() {
  if (!node_) return {};
  if (missing_ > 0) return Error{Code::kDataLoss, "the guest ended in the middle of a file"};
  node_->sum = images::to_digest_string(hash_.finish()).substr(7);
  TreeNode node = *std::exchange(node_, std::nullopt);
  return tree_.add(std::move(node));
}

}  // namespace engine::build
