#include "api/machines/local_machines.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <bit>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <thread>

#include "api/async/shield.h"
#include "vmm/base/units.h"

namespace engine {

namespace {

using base::Code;
using base::Error;
using base::Result;
using base::operator""_MiB;

constexpr std::size_t kMaxIdLength = 64;
/// Clones that did not come from the pool, until they have their container's name.
constexpr const char* kFreshPrefix = "fresh-";
constexpr const char* kTemplatePrefix = "template-";

/// A start keeps about two threads busy (a vCPU and the devices), but not all the time.
std::size_t starts_at_once() { return 2 * std::max(1u, std::thread::hardware_concurrency()); }

bool is_valid_id(const std::string& id) {
  return !id.empty() && id.size() <= kMaxIdLength && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

bool is_containers(const std::string& name) {
  return !name.starts_with(ClonePool::kNamePrefix) && !name.starts_with(kFreshPrefix) &&
         !name.starts_with(kTemplatePrefix);
}

using Clock = std::chrono::steady_clock;
double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

}  // namespace

launch::Shape shape_for(std::uint64_t memory_limit, std::int64_t nano_cpus,
                        launch::Shape fallback) {
  constexpr std::uint64_t kSmallest = 128_MiB;
  constexpr std::int64_t kBillion = 1'000'000'000;
  launch::Shape shape = fallback;
  if (memory_limit > 0) {
    // The kernel, guest-init and page tables: a fixed part and a sixteenth.
    const std::uint64_t wanted = memory_limit + memory_limit / 16 + 64_MiB;
    shape.memory_bytes = std::bit_ceil(std::max(wanted, kSmallest));
  }
  if (nano_cpus > 0)
    shape.vcpus = static_cast<std::uint32_t>((nano_cpus + kBillion - 1) / kBillion);
  return shape;
}

LocalMachines::LocalMachines(CloneMachine::Context context, Templates& templates,
                             Networks* networks, launch::Shape default_shape, std::size_t pool_size)
    : context_(context),
      templates_(templates),
      networks_(networks),
      pool_(context, templates, default_shape, pool_size),
      starting_(context_.executor, starts_at_once()),
      settled_(context_.executor) {}

void LocalMachines::open() {
  std::vector<std::string> names = context_.launcher.found();
  for (const std::string& name : names)
    if (is_containers(name)) left_over_.insert(name);
  net::co_spawn(context_.executor, settle(this, std::move(names)), net::detached);
}

net::awaitable<void> LocalMachines::settle(LocalMachines* self, std::vector<std::string> names) {
  for (const std::string& name : names)
    if (is_containers(name)) co_await self->context_.launcher.reserve(name);
  for (const std::string& name : names)
    if (!is_containers(name)) co_await self->context_.launcher.remove_left_over(name);
  co_await self->context_.launcher.remove_strays();
  self->settled_.set();
  self->pool_.refill();
}

// ---- starting -------------------------------------------------------------------------------

net::awaitable<Result<std::shared_ptr<Machine>>> LocalMachines::obtain(MachineSpec spec) {
  return async::shielded(obtain_whole(std::move(spec)));
}

Result<void> LocalMachines::check(const MachineSpec& spec) const {
  if (!is_valid_id(spec.id))
    return Error{Code::kInvalidArgument, "a machine's ID is 1 to 64 of the characters a-z, 0-9, -"};
  if (!spec.endpoints.empty() && networks_ == nullptr)
    return Error{Code::kNotSupported, "networking is switched off"};
  if (running_.contains(spec.id) || left_over_.contains(spec.id))
    return Error{Code::kAlreadyExists, "machine " + spec.id + " exists already"};
  return {};
}

net::awaitable<Result<std::shared_ptr<Machine>>> LocalMachines::obtain_whole(MachineSpec spec) {
  RETURN_IF_ERROR_ASYNC(check(spec));
  running_.emplace(spec.id, nullptr);
  const std::string id = spec.id;
  auto clone = co_await make(std::move(spec));
  if (!clone) {
    running_.erase(id);
    co_return base::annotate(std::move(clone).error(), "start the machine");
  }
  keep(id, *clone);
  co_return std::shared_ptr<Machine>(*clone);
}

net::awaitable<Result<LocalMachines::Clone>> LocalMachines::make(MachineSpec spec) {
  co_await settled_.wait();
  auto turn = std::make_shared<std::optional<async::Slots::Slot>>(co_await starting_.take());
  if (spec.abandoned.stop_requested())
    co_return Error{Code::kUnavailable, "the machine's start was abandoned"};
  const auto begun_at = Clock::now();
  if (!spec.endpoints.empty()) networks_->refill();
  auto clone = co_await clone_of(spec.shape);
  if (!clone) {
    pool_.refill();
    co_return clone;
  }
  // The next clone is made when this machine no longer needs the processor that much.
  auto begun = [this, turn, id = spec.id, begun_at, obtained = milliseconds_since(begun_at)] {
    turn->reset();
    pool_.refill();
    spdlog::debug("start phases of {}: clone {:.2f} ms, process {:.2f} ms", id.substr(0, 12),
                  obtained, milliseconds_since(begun_at) - obtained);
  };
  if (auto done = co_await (*clone)->become(std::move(spec), std::move(begun)); !done) {
    co_await (*clone)->wait_stopped();
    co_return std::move(done).error();
  }
  co_return clone;
}

net::awaitable<Result<LocalMachines::Clone>> LocalMachines::clone_of(launch::Shape shape) {
  if (auto ready = pool_.take(shape)) co_return ready;
  const auto from = co_await templates_.get(shape);
  if (!from) co_return from.error();
  co_return co_await CloneMachine::restore(context_, kFreshPrefix + std::to_string(started_++),
                                           *from);
}

void LocalMachines::keep(const std::string& id, const Clone& clone) {
  running_[id] = clone;
  clone->on_ended([this, id] { running_.erase(id); });
}

net::awaitable<Result<HostFile>> LocalMachines::check_host_path(std::string path) {
  return context_.launcher.check_host_path(std::move(path));
}

// ---- after a restart ------------------------------------------------------------------------

std::vector<std::string> LocalMachines::left_over() const {
  return {left_over_.begin(), left_over_.end()};
}

net::awaitable<Result<std::shared_ptr<Machine>>> LocalMachines::adopt(AdoptSpec spec) {
  return async::shielded(adopt_whole(std::move(spec)));
}

net::awaitable<Result<std::shared_ptr<Machine>>> LocalMachines::adopt_whole(AdoptSpec spec) {
  co_await settled_.wait();
  if (left_over_.erase(spec.id) == 0) co_return Error{Code::kNotFound, "no machine " + spec.id};
  const std::string id = spec.id;
  auto process = context_.launcher.reopen(id);
  if (!process) {
    Error error = std::move(process).error();
    if (const auto stopped = context_.launcher.read_result(id)) error.message = stopped->message;
    left_over_.insert(id);  // what is left of it goes with the others
    co_return error;
  }
  running_.emplace(id, nullptr);
  std::vector<EndpointLease> endpoints = co_await resume(spec.id, spec.endpoints);
  auto clone = co_await CloneMachine::adopt(context_, std::move(*process), std::move(spec),
                                            std::move(endpoints));
  if (!clone) {
    running_.erase(id);
    co_return std::move(clone).error();
  }
  keep(id, *clone);
  co_return std::shared_ptr<Machine>(*clone);
}

net::awaitable<std::vector<EndpointLease>> LocalMachines::resume(
    std::string id, std::vector<Endpoint> endpoints) const {
  std::vector<EndpointLease> leases;
  if (networks_ == nullptr) co_return std::move(leases);
  for (const Endpoint& endpoint : endpoints) {
    auto resumed = co_await networks_->resume(endpoint);
    if (resumed)
      leases.push_back(*std::move(resumed));
    else
      spdlog::warn("machine {} is without network: {}", id, resumed.error().message);
  }
  co_return std::move(leases);
}

net::awaitable<void> LocalMachines::remove_left_over() {
  const std::set<std::string> names = std::exchange(left_over_, {});
  for (const std::string& name : names) co_await context_.launcher.remove_left_over(name);
  // All addresses of earlier machines are taken again or free by now.
  if (networks_ != nullptr) networks_->refill();
}

net::awaitable<void> LocalMachines::close() {
  co_await settled_.wait();
  co_await pool_.close();
}

}  // namespace engine
