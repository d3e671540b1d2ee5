// The daemon's log: lines on standard error.
//
// Trust: what is logged may quote guests, monitors, registries and clients. Every message is one
// line and holds nothing that a terminal obeys (base::printable), whoever logs it.
#pragma once

#include <memory>
#include <string>

namespace spdlog {
class logger;
namespace sinks {
class sink;
}
}  // namespace spdlog

namespace program {

/// Makes this the process's log. `level` as spdlog names it.
void open_log(const std::string& level);

/// As above, but the lines go to `sink`.
void open_log(const std::string& level, std::shared_ptr<spdlog::sinks::sink> sink);

}  // namespace program
