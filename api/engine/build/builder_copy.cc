// Builder: COPY, ADD and WORKDIR.
#include <charconv>
#include <optional>
#include <utility>

#include "api/engine/build/builder.h"
#include "guest-init/protocol/files.h"
#include "images/dockerfile/text.h"

namespace engine::build {

using base::Code;
using base::Error;
using base::Result;
using dockerfile::Instruction;
using dockerfile::Kind;
using nlohmann::json;

namespace files = protocol::files;

namespace {

/// Makes the destination absolute, from the working directory; a slash at its end stays.
std::string absolute(const std::string& working_directory, const std::string& destination) {
  if (destination.starts_with('/')) return destination;
  std::string path = dockerfile::clean_path("/" + working_directory + "/" + destination);
  if (destination.ends_with('/') && path != "/") path += "/";
  return path;
}

/// Of --chown. A name without a group stands for the group of that name, too.
std::string owner_of(const std::string& flag) {
  if (flag.empty()) return "0:0";
  return flag.find(':') == std::string::npos ? flag + ":" + flag : flag;
}

/// Reads --chmod: octal, as BuildKit has it. dockerd's classic builder refuses the option.
Result<std::optional<std::uint32_t>> mode_of(const std::string& flag) {
  if (flag.empty()) return std::optional<std::uint32_t>();
  std::uint32_t mode = 0;
  const auto [end, error] = std::from_chars(flag.data(), flag.data() + flag.size(), mode, 8);
  if (error != std::errc() || end != flag.data() + flag.size() || mode > 07777)
    return Error{Code::kInvalidArgument,
                 "invalid chmod parameter: '" + flag.substr(0, 64) +
                     "'. it should be octal string and between 0 and 07777"};
  // Higher bits would be lost when the owner is set, which comes last.
  if (mode > 0777)
    return Error{Code::kNotSupported,
                 "chmod parameter '" + flag.substr(0, 64) +
                     "': the set-user-ID, set-group-ID and sticky bits are not supported"};
  return std::optional(mode);
}

/// The words by which the history tells of the instruction.
std::string told(const Instruction& instruction, const std::vector<CopySource>& sources) {
  const std::string permissions = instruction.flag("chmod");
  const std::string owner = instruction.flag("chown");
  return "#(nop) " + keyword(instruction) + " " +
         (permissions.empty() ? "" : "--chmod=" + permissions + " ") +
         (owner.empty() ? "" : "--chown=" + owner + " ") + hash_of_sources(sources) + " in " +
         instruction.arguments.back() + " ";
}

}  // namespace

Builder::Step Builder::commit_copy(ContainerPtr container, CopyPlan plan,
                                   images::CommitOptions options) {
  const auto made = co_await layers_.commit(container, std::move(plan), std::move(options));
  if (!made) co_return made.error();
  state_.image_id = *made;
  co_return Result<void>();
}

Builder::Step Builder::copy(const Instruction& instruction) {
  const auto mode = mode_of(instruction.flag("chmod"));
  if (!mode) co_return mode.error();
  const auto found = co_await sources_.sources_of(instruction);
  if (!found) co_return found.error();
  const std::string& destination = instruction.arguments.back();
  if (found->size() > 1 && !destination.ends_with('/'))
    co_return Error{Code::kInvalidArgument,
                    "When using " + keyword(instruction) +
                        " with more than one source file, the destination must be a directory and "
                        "end with a /"};
  const json config = state_.with_comment({told(instruction, *found)});
  const auto hit = co_await is_cached(config);
  if (!hit) co_return hit.error();
  if (*hit) co_return Result<void>();
  json body{{"Cmd", {"true"}}};
  const auto container = co_await containers_.make(state_, std::move(body), /*files_only=*/true);
  if (!container) co_return container.error();
  containers_.hide_last();  // dockerd has none
  const std::string owner = instruction.flag("chown");
  const bool keeps_owners = !instruction.flag("from").empty() && owner.empty();
  CopyPlan plan{.sources = *found,
                .destination = absolute(state_.config.value("WorkingDir", ""), destination),
                .owner = keeps_owners ? "" : owner_of(owner),
                .mode = *mode,
                .extracts = instruction.kind == Kind::kAdd,
                .spool_directory = session_.parts.spool_directory};
  images::CommitOptions options = state_.commit_options(config, "");
  auto done = co_await commit_copy(*container, std::move(plan), std::move(options));
  // Whose files they become is looked up before anything is copied.
  if (done || done.error().message.starts_with(files::kUnknownOwner)) co_return done;
  co_return base::annotate(std::move(done), "failed to copy files");
}

Builder::Step Builder::make_workdir(const Instruction& instruction) {
  const auto said = state_.changes.apply(instruction, state_.config);
  if (!said) co_return said.error();
  const json config = state_.with_comment({"#(nop) " + *said});
  const auto hit = co_await is_cached(config);
  if (!hit) co_return hit.error();
  if (*hit) co_return Result<void>();
  json body{{"Cmd", {"true"}}};
  const auto container = co_await containers_.make(state_, std::move(body), /*files_only=*/true);
  if (!container) co_return container.error();
  session_.tell(ContainerBegun{.container = (*container)->id});
  CopyPlan plan{.sources = {},
                .destination = state_.config.at("WorkingDir").get<std::string>(),
                .owner = "0:0",
                .extracts = false};
  images::CommitOptions options =
      state_.commit_options(state_.as_created(config), (*container)->id);
  co_return co_await commit_copy(*container, std::move(plan), std::move(options));
}

}  // namespace engine::build
