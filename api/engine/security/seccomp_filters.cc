#include "api/engine/security/seccomp_filters.h"

#include <algorithm>

namespace engine {

using base::Result;

namespace {

Result<SeccompFilters::Filter> compile(const std::string& profile, const SeccompTarget& target) {
  std::optional<SeccompProfile> parsed;
  if (profile.empty()) {
    parsed = default_seccomp_profile();
  } else {
    auto custom = parse_seccomp_profile(profile);
    if (!custom) return std::move(custom).error();
    parsed = *std::move(custom);
  }
  if (!parsed) return SeccompFilters::Filter();
  auto filter = compile_seccomp_filter(*parsed, target);
  // dockerd hears these from runc, when it makes the container's task.
  if (!filter)
    return base::annotate(std::move(filter).error(), "failed to create task for container");
  return std::make_shared<const SeccompFilter>(*std::move(filter));
}

}  // namespace

net::awaitable<Result<SeccompFilters::Filter>> SeccompFilters::get(
    std::optional<std::string> profile, std::uint64_t capabilities) {
  if (!profile) co_return Filter();
  const auto same = [&](const Entry& entry) {
    return entry.capabilities == capabilities && entry.profile == *profile;
  };
  const auto found = std::find_if(kept_.begin(), kept_.end(), same);
  if (found != kept_.end()) co_return found->filter;

  const SeccompTarget target{.capabilities = capabilities, .kernel = kernel_};
  const std::function<Result<Filter>()> compile_it = [text = *profile, target] {
    return compile(text, target);
  };
  auto filter = co_await pool_.run(compile_it);
  if (!filter || profile->size() > kLongestKept) co_return filter;
  if (std::none_of(kept_.begin(), kept_.end(), same))
    kept_.push_back(
        {.profile = *std::move(profile), .capabilities = capabilities, .filter = *filter});
  if (kept_.size() > kKept) kept_.pop_front();
  co_return filter;
}

void apply_seccomp_filter(const SeccompFilters::Filter& filter, protocol::StartProcess& process) {
  if (!filter) return;
  process.seccomp_filter = filter->program;
  process.seccomp_flags = filter->flags;
}

}  // namespace engine
