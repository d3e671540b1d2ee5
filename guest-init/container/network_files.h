// NetworkFiles: the /etc/hostname, /etc/hosts and /etc/resolv.conf that go with a container's
// network. They are files of guest-init's, which containers see by bind mounts and may write to.
//
// Threads: guest-init's one thread, and its shared tasks while it waits for them.
#pragma once

#include <string>

#include "guest-init/protocol/messages.h"
#include "vmm/base/result.h"

namespace guest_init {

class NetworkFiles {
 public:
  /// `directory` is for nothing else of these names.
  explicit NetworkFiles(std::string directory) : directory_(std::move(directory)) {}

  const std::string& directory() const { return directory_; }

  base::Result<void> write(const protocol::PrepareContainer& spec);

  /// What the container's processes changed of the files stays: of /etc/hosts, lines go and come;
  /// /etc/resolv.conf is left alone if it is not as it was written. kResourceExhausted: a file has
  /// become too large to be changed, and is left as it is.
  base::Result<void> update(const protocol::UpdateNetworkFiles& request);

 private:
  base::Result<void> write_file(const std::string& name, const std::string& contents) const;
  base::Result<std::string> read_file(const std::string& name) const;

  std::string directory_;
  std::string resolv_conf_;  // as it was written
};

}  // namespace guest_init
