// TemplateBuilder: boots one machine to guest-init's ready point and has it saved.
//
// Threads: io_context thread. The machine is ended and removed whatever comes of it.
#pragma once

#include <memory>
#include <string>

#include "api/async/blocking_pool.h"
#include "api/machines/monitor/guest_session.h"
#include "api/machines/monitor/monitor_client.h"
#include "api/machines/monitor/monitor_process.h"
#include "api/machines/templates/template_files.h"
#include "api/machines/templates/templates.h"

namespace engine {

class TemplateBuilder : public std::enable_shared_from_this<TemplateBuilder> {
 public:
  TemplateBuilder(net::any_io_executor executor, MonitorLauncher& launcher,
                  const TemplatesConfig& config);

  /// Boots a machine of `shape` under the run directory `name`, fills the draft's files, and
  /// returns what its info should say of streams and size. Errors carry the guest's last console
  /// lines.
  static net::awaitable<base::Result<launch::Saved>> build(std::shared_ptr<TemplateBuilder> self,
                                                           std::string name, launch::Shape shape,
                                                           const TemplateDraft& draft);

 private:
  using Deadline = std::chrono::steady_clock::time_point;

  base::Result<void> connect();
  net::awaitable<base::Result<void>> boot(launch::Shape shape);
  net::awaitable<base::Result<void>> greet(Deadline deadline);
  net::awaitable<base::Result<void>> try_greeting(std::chrono::milliseconds patience);
  net::awaitable<base::Result<void>> open_streams();
  net::awaitable<base::Result<launch::Saved>> save(const TemplateDraft& draft);
  net::awaitable<std::string> finish();
  net::awaitable<base::Result<void>> answered(async::Reply<MonitorClient::Answer> reply);

  net::any_io_executor executor_;
  MonitorLauncher& launcher_;
  TemplatesConfig config_;
  std::unique_ptr<MonitorProcess> process_;
  std::shared_ptr<MonitorClient> monitor_;
  std::shared_ptr<GuestSession> session_;
  std::vector<StreamSocket> streams_;
  std::optional<launch::Stopped> stopped_;
  async::Latch gone_;  // the monitor closed its connection, or said that the machine has ended
};

}  // namespace engine
