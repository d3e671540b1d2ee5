#include "vmm/fileserver/session/server.h"

#include <pthread.h>

#include <utility>

#include "vmm/fileserver/files/caller.h"
#include "vmm/fileserver/files/limits.h"

namespace fileserver {

Server::Server(Settings settings)
    : settings_(std::move(settings)),
      channel_(std::move(settings_.session)),
      session_(settings_.files, [this](std::span<iovec> parts) { return channel_.send(parts); }) {}

base::Result<std::unique_ptr<Server>> Server::start(Settings settings) {
  std::unique_ptr<Server> server(new Server(std::move(settings)));
  for (unsigned i = 0; i < kThreads; ++i) server->begin("requests", &Server::serve);
  server->begin("locks", &Server::try_locks);
  server->begin("turns", &Server::watch);
  if (auto working = server->let_work(); !working) return std::move(working).error();
  return server;
}

void Server::begin(const char* name, void (Server::*work)()) {
  threads_.emplace_back([this, name, work] {
    ::pthread_setname_np(::pthread_self(), name);
    if (get_ready()) (this->*work)();
  });
}

bool Server::get_ready() {
  auto prepared = prepare_thread(settings_.files.descriptors());
  if (prepared) prepared = settings_.restrict();
  std::unique_lock lock(mutex_);
  if (!prepared) prepared_ = std::move(prepared);
  ++ready_;
  changed_.notify_all();
  changed_.wait(lock, [this] { return decided_; });
  return may_work_;
}

base::Result<void> Server::let_work() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return ready_ == threads_.size(); });
  if (prepared_) prepared_ = settings_.restrict();
  decided_ = true;
  may_work_ = prepared_.has_value();
  changed_.notify_all();
  return prepared_;
}

void Server::serve() {
  while (turn_.take()) {
    for (bool reads = true; reads;) {
      auto request = channel_.receive();
      if (!request) return end(std::move(request).error());
      if (!*request) return end({});
      const std::uint64_t begun = turn_.begin();
      session_.process((*request)->span());
      reads = turn_.end(begun);
    }
  }
}

void Server::try_locks() { settings_.files.waits().run(); }

void Server::watch() { turn_.watch(); }

void Server::end(base::Result<void> result) {
  const std::lock_guard lock(mutex_);  // others wait here until all is done, or for ever
  if (std::exchange(ended_, true)) return;
  channel_.shut_down();
  settings_.on_end(std::move(result));
}

Server::~Server() {
  channel_.shut_down();
  settings_.files.waits().stop();
  turn_.stop();
  for (std::thread& thread : threads_) thread.join();
}

}  // namespace fileserver
