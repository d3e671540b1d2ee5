// nft commands: nft(8)'s language, carried out by libnftables.
//
// Threads: one call at a time. Errors: kUnavailable with nftables' words.
#pragma once

#include <string>

#include "vmm/base/result.h"

namespace engine::nft {

/// One transaction: all of `commands`, or nothing of them and an Error.
base::Result<void> run(const std::string& commands);

/// What a command that lists something prints, as JSON (libnftables-json(5)).
base::Result<std::string> list(const std::string& command);

}  // namespace engine::nft
