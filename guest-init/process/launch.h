// Launch: how a task (system/shared_task.h) becomes a container's process. guest-init makes it, the
// task runs it; the two share memory, so the task leaves a failure in failure(), where guest-init
// reads it.
//
// What needs heap memory is a member of the Launch, which guest-init owns and frees: an execve runs
// no destructors of what is on the task's stack, so that would leak.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "guest-init/protocol/messages.h"
#include "guest-init/system/user.h"
#include "vmm/base/result.h"
#include "vmm/base/unique_fd.h"

namespace guest_init {

/// A pseudo terminal of the container.
struct Terminal {
  base::UniqueFd master;
  base::UniqueFd slave;
};

/// Opens a new terminal of the devpts that is mounted in the calling task's namespace. Zero rows or
/// columns leave its size alone.
base::Result<Terminal> open_terminal(std::uint16_t rows, std::uint16_t columns);

base::Result<void> set_terminal_size(int terminal, std::uint16_t rows, std::uint16_t columns);

/// The number of an rlimit by Docker's name for it ("nofile"); -1 if there is none.
int rlimit_number(const std::string& name);

class Launch {
 public:
  /// guest-init's descriptors, all above 2.
  struct Streams {
    int in = -1;  // -1: the container's /dev/null
    int out = -1;
    int err = -1;
  };

  /// `spec` outlives the Launch. `init_program`: an open descriptor of guest-init's own executable,
  /// used for `use_init` and `files_tool`.
  /// `directories`: what the files tool inherits (kFilesToolDirectories).
  Launch(const protocol::StartProcess& spec, bool first_of_container, int init_program,
         std::vector<base::UniqueFd> directories)
      : spec_(spec),
        first_(first_of_container),
        init_program_(init_program),
        directories_(std::move(directories)) {}

  /// Runs in the task: sets everything up as `spec` says and executes the program. Does not return:
  /// on failure `failure()` is set and the task exits.
  [[noreturn]] void become_process(const Streams& streams);

  /// Set when the program was not executed.
  const std::optional<protocol::Failure>& failure() const { return failure_; }

 private:
  struct Privileges {
    Credentials credentials;
    std::uint64_t own_capabilities = 0;
    bool installs_as_admin = false;  // the seccomp filter, by CAP_SYS_ADMIN
  };
  /// For execve.
  struct Arguments {
    std::string directory_list;
    std::vector<const char*> argv;
    std::vector<const char*> environment;
  };

  bool fail(protocol::FailureKind kind, int error, std::string stage, std::string message);
  bool fail_errno(protocol::FailureKind kind, std::string stage, const std::string& what);

  // The steps of become_process(), which has their order. A bool says whether the step succeeded;
  // if not, failure_ is set.
  bool connect_streams(const Streams& streams);
  bool mount_console();
  bool set_limits();
  bool find_user();
  bool enter_working_directory();
  bool drop_privileges();
  bool find_program();
  bool check_filter();
  void add_arguments();
  bool install_filter();
  void execute();

  const protocol::StartProcess& spec_;
  const bool first_;
  const int init_program_;
  const std::vector<base::UniqueFd> directories_;
  std::optional<protocol::Failure> failure_;

  Privileges privileges_;
  std::string home_;
  std::string program_;
  Arguments arguments_;
};

}  // namespace guest_init
