// Template: a saved machine, booted to guest-init's ready point, that clones are made of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vmm/base/unique_fd.h"
#include "vmm/launch/messages.h"

namespace engine {

/// Streams that are open in every template, by their tags: the control stream and some for stdio.
inline constexpr std::uint32_t kControlTag = 1;
inline constexpr std::uint32_t kFirstStreamTag = 2;
inline constexpr std::uint32_t kTemplateStreams = 3;  // stdin, stdout, stderr of the first process

/// Immutable and shared by its clones; its files stay readable after they were replaced.
struct Template {
  launch::Shape shape;
  std::vector<std::uint32_t> streams;  // tags that can be adopted
  base::UniqueFd memory;               // both read-only
  base::UniqueFd state;
};

}  // namespace engine
