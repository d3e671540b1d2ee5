#include "api/engine/machines/packet_rules.h"

#include <nftables/libnftables.h>

#include <memory>

namespace engine::packet_rules {

namespace {

using base::Code;
using base::Error;
using base::Result;

/// One transaction: all of `commands` or nothing.
Result<void> run(const std::string& commands) {
  const std::unique_ptr<nft_ctx, decltype(&nft_ctx_free)> context(nft_ctx_new(NFT_CTX_DEFAULT),
                                                                  &nft_ctx_free);
  if (!context) return Error{Code::kInternal, "nftables does not start"};
  nft_ctx_buffer_output(context.get());
  nft_ctx_buffer_error(context.get());
  if (nft_run_cmd_from_buffer(context.get(), commands.c_str()) == 0) return {};
  return Error{Code::kUnavailable,
               std::string("nftables: ") + nft_ctx_get_error_buffer(context.get())};
}

/// "add" makes what is missing, so that the "delete" that follows cannot fail.
std::string reset_tables(const std::string& table) {
  return "add table ip " + table + "\ndelete table ip " + table +  //
         "\nadd table bridge " + table + "\ndelete table bridge " + table + "\n";
}

std::string nat_table(const RuleSpec& spec) {
  return "table ip " + spec.table +
         " {\n"
         "  chain outbound {\n"
         "    type nat hook postrouting priority srcnat; policy accept;\n"
         "    ip saddr " +
         spec.subnet + " oifname != \"" + spec.bridge +
         "\" masquerade\n"
         "  }\n"
         "}\n";
}

std::string source_table(const RuleSpec& spec) {
  const std::string taps = "iifname \"" + spec.tap_prefix + "*\"";
  return "table bridge " + spec.table +
         " {\n"
         "  set senders {\n"
         "    type ifname . ether_addr . ipv4_addr\n"
         "  }\n"
         "  chain from_machines {\n"
         "    type filter hook prerouting priority dstnat; policy accept;\n"
         "    " +
         taps + " ether type ip iifname . ether saddr . ip saddr @senders accept\n    " + taps +
         " ether type arp iifname . ether saddr . arp saddr ip @senders"
         " iifname . arp saddr ether . arp saddr ip @senders accept\n    " +
         taps +
         " drop\n"
         "  }\n"
         "}\n";
}

std::string element(const TapRule& rule) {
  return " element bridge " + rule.table + " senders { \"" + rule.tap + "\" . " + rule.mac + " . " +
         rule.address + " }\n";
}

}  // namespace

Result<void> install(const RuleSpec& spec) {
  return run(reset_tables(spec.table) + nat_table(spec) + source_table(spec));
}

Result<void> remove(const std::string& table) { return run(reset_tables(table)); }

Result<void> allow(const TapRule& rule) { return run("add" + element(rule)); }

Result<void> forbid(const TapRule& rule) { return run("delete" + element(rule)); }

}  // namespace engine::packet_rules
