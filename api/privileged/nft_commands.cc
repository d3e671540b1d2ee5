#include "api/privileged/nft_commands.h"

#include <nftables/libnftables.h>

#include <memory>

namespace engine::nft {

namespace {

using base::Code;
using base::Error;
using base::Result;

using Context = std::unique_ptr<nft_ctx, decltype(&nft_ctx_free)>;

/// Null if there is no memory, or no netlink socket.
Context open_context() {
  Context context(nft_ctx_new(NFT_CTX_DEFAULT), &nft_ctx_free);
  if (!context) return context;
  nft_ctx_buffer_output(context.get());
  nft_ctx_buffer_error(context.get());
  return context;
}

Result<void> run_in(const Context& context, const std::string& commands) {
  if (!context) return Error{Code::kInternal, "nftables does not start"};
  if (nft_run_cmd_from_buffer(context.get(), commands.c_str()) == 0) return {};
  return Error{Code::kUnavailable,
               std::string("nftables: ") + nft_ctx_get_error_buffer(context.get())};
}

}  // namespace

Result<void> run(const std::string& commands) { return run_in(open_context(), commands); }

Result<std::string> list(const std::string& command) {
  const Context context = open_context();
  if (context) nft_ctx_output_set_flags(context.get(), NFT_CTX_OUTPUT_JSON);
  RETURN_IF_ERROR(run_in(context, command));
  return std::string(nft_ctx_get_output_buffer(context.get()));
}

}  // namespace engine::nft
