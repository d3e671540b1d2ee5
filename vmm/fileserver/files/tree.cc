#include "vmm/fileserver/files/tree.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <limits>
#include <string>
#include <utility>

#include "vmm/fileserver/files/host_file.h"

namespace fileserver {
namespace {

namespace protocol = launch::file_server;

base::Error invalid(const char* message) { return {base::Code::kInvalidArgument, message}; }

/// What `root` is: a directory or a regular file.
base::Result<Identified> check_root(int root) {
  const int flags = ::fcntl(root, F_GETFL);
  if (flags < 0) return base::errno_error("the tree's descriptor");
  if ((flags & O_PATH) == 0) return invalid("a tree's descriptor was not opened with O_PATH");
  auto found = identify(root);
  if (!found) return base::errno_error("the tree's descriptor", found.error().value);
  const mode_t type = found->attributes.st_mode & S_IFMT;
  if (type != S_IFDIR && type != S_IFREG)
    return invalid("a tree is a directory or a regular file, and nothing else");
  return *found;
}

}  // namespace

base::Result<void> Trees::add(const Added& added, base::UniqueFd root) {
  if (added.caching != protocol::Caching::kStrict && added.caching != protocol::Caching::kRelaxed)
    return invalid("a tree's caching is neither strict nor relaxed");
  const auto top = check_root(root.get());
  if (!top) return top.error();
  auto tree = std::make_shared<Tree>();
  tree->number = added.number;
  tree->read_only = added.read_only;
  tree->caching = added.caching;
  tree->root = std::move(root);
  tree->top = *top;
  const std::lock_guard lock(mutex_);
  if (trees_.contains(added.number))
    return base::Error{base::Code::kAlreadyExists,
                       "there is a tree " + std::to_string(added.number) + " already"};
  if (trees_.size() >= protocol::kMostTrees)
    return base::Error{base::Code::kResourceExhausted, "a machine has at most " +
                                                           std::to_string(protocol::kMostTrees) +
                                                           " shared directories at a time"};
  trees_.emplace(added.number, std::move(tree));
  return {};
}

std::vector<std::shared_ptr<Tree>> Trees::remove(std::uint32_t begin, std::uint32_t end) {
  std::vector<std::shared_ptr<Tree>> removed;
  const std::lock_guard lock(mutex_);
  auto next = trees_.lower_bound(begin);
  while (next != trees_.end() && next->first < end) {
    next->second->removed = true;
    removed.push_back(std::move(next->second));
    next = trees_.erase(next);
  }
  return removed;
}

std::shared_ptr<Tree> Trees::find(std::uint32_t number) const {
  const std::lock_guard lock(mutex_);
  const auto found = trees_.find(number);
  return found == trees_.end() ? nullptr : found->second;
}

std::shared_ptr<Tree> Trees::at_or_after(std::uint64_t number) const {
  if (number > std::numeric_limits<std::uint32_t>::max()) return nullptr;
  const std::lock_guard lock(mutex_);
  const auto found = trees_.lower_bound(static_cast<std::uint32_t>(number));
  return found == trees_.end() ? nullptr : found->second;
}

}  // namespace fileserver
