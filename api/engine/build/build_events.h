// What a build tells whoever asked for it, as values: a front makes its messages of them.
//
// Threads: the io_context thread. Trust: names and texts are the client's, its guests' or a
// registry's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "api/async/net.h"

namespace engine::build {

/// What the Dockerfile's parser found odd.
struct ParserWarnings {
  std::vector<std::string> lines;
};
struct StepBegun {
  std::size_t number = 0;  // from 1
  std::size_t of = 0;
  std::string text;  // of the instruction
};
/// A step is over.
struct StepEnded {
  std::string image;  // the image so far; empty: there is none yet
};
struct StageEnded {
  std::string image;
};
/// The ONBUILD instructions of the base image begin, which come before the stage's own.
struct TriggersBegun {
  std::size_t count = 0;
};
/// The step's image was there already.
struct CacheHit {};
struct ContainerBegun {
  std::string container;
};
struct ContainerRemoved {
  std::string container;
};
/// What the container of a step writes.
struct StepOutput {
  bool is_error = false;  // to its standard error
  std::string text;       // no character is split between two of these
};
/// An instruction takes the place of the health check that the image had.
struct HealthCheckReplaced {
  std::vector<std::string> test;
};
/// Words of a registry, or of a download, about the object `id`, or about the whole if that is
/// empty.
struct TransferMessage {
  std::string id;
  std::string text;
};
/// How far a transfer is. A listener may drop these.
struct TransferProgress {
  std::string id;
  std::string action;
  std::uint64_t current = 0;
  std::uint64_t total = 0;  // 0: unknown
};
struct DownloadEnded {};
/// Arguments that the client gave and no instruction used.
struct UnusedArguments {
  std::vector<std::string> names;
};
struct ImageBuilt {
  std::string image;
};
struct ImageTagged {
  std::string name;
};

using BuildEvent =
    std::variant<ParserWarnings, StepBegun, StepEnded, StageEnded, TriggersBegun, CacheHit,
                 ContainerBegun, ContainerRemoved, StepOutput, HealthCheckReplaced, TransferMessage,
                 TransferProgress, DownloadEnded, UnusedArguments, ImageBuilt, ImageTagged>;

/// Whoever hears how a build goes. Shared by the build and its front.
class BuildListener {
 public:
  virtual ~BuildListener() = default;
  virtual void tell(const BuildEvent& event) = 0;
  /// Completes when the listener has room for more, or listens no longer. A build awaits it now and
  /// then, so that a slow listener holds it back.
  virtual net::awaitable<void> room() = 0;
};

}  // namespace engine::build
