#include "api/program/options.h"

#include <CLI/CLI.hpp>

namespace program {

namespace fs = std::filesystem;

namespace {

/// Finds another program where an installation puts it (beside this one) or the build.
fs::path find_program(const char* name, const char* build_directory) {
  std::error_code error;
  const fs::path here = fs::read_symlink("/proc/self/exe", error).parent_path();
  const fs::path beside = here / name;
  if (fs::exists(beside, error)) return beside;
  return here.parent_path() / build_directory / name;
}

}  // namespace

void take_proxies_from_environment(Options& options) {
  registry::ProxyOptions found = registry::proxies_from_environment();
  for (std::string registry::ProxyOptions::*field :
       {&registry::ProxyOptions::http, &registry::ProxyOptions::https,
        &registry::ProxyOptions::none})
    if ((options.proxies.*field).empty()) options.proxies.*field = std::move(found.*field);
}

ParsedOptions parse_options(int argc, const char* const* argv) {
  Options options;
  CLI::App app{"containervmd: the Docker API, every container in a virtual machine of its own"};
  app.add_option("--state", options.state, "directory of everything kept")->required();
  app.add_option("--socket", options.socket, "unix socket of the API (default: STATE/docker.sock)");
  app.add_option("--socket-name", options.socket_names,
                 "a path by which clients know that socket, too: a container that mounts it gets "
                 "the socket, as with /var/run/docker.sock")
      ->allow_extra_args(false);
  app.add_option("--kernel", options.kernel, "guest kernel, an uncompressed vmlinux")->required();
  app.add_option("--init", options.initramfs, "guest-init.cpio")->required();
  app.add_option("--vmm", options.monitor, "the containervm-vmm program")->required();
  app.add_option("--layer-tool", options.layer_tool, "the containervm-layer program");
  app.add_option("--file-server", options.file_server, "the containervm-fileserver program");
  app.add_option("--host-directory", options.host_directories,
                 "containers may have this directory of the host, and others that are named so "
                 "(default: all; \"none\": no bind mounts)")
      ->allow_extra_args(false);
  app.add_option("--signature-policy", options.signature_policy,
                 "which images may come in and run, a containers-policy.json(5) (default: all)");
  app.add_option("--signature-lookaside", options.signature_lookaside,
                 "directory with signatures of simple signing, as a lookaside server has them");
  app.add_option("--log-level", options.log_level, "trace, debug, info, warn, error")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error"}))
      ->capture_default_str();
  app.add_option("--pool", options.pool, "clones restored in advance")
      ->check(CLI::Range(0, 64))
      ->capture_default_str();
  app.add_option("--insecure-registry", options.insecure_registries,
                 "HOST, HOST:PORT or CIDR: its certificate is not verified, and plain HTTP will do")
      ->allow_extra_args(false);
  app.add_option("--registry-mirror", options.registry_mirrors,
                 "URL that is tried before docker.io")
      ->allow_extra_args(false);
  app.add_option("--registry-certs", options.registry_certificates,
                 "directory with HOST:PORT/{*.crt,*.cert,*.key}")
      ->capture_default_str();
  app.add_option("--http-proxy", options.proxies.http,
                 "http://[USER:PASSWORD@]HOST:PORT for http:// (default: $HTTP_PROXY)");
  app.add_option("--https-proxy", options.proxies.https,
                 "the same for https:// (default: $HTTPS_PROXY)");
  app.add_option("--no-proxy", options.proxies.none,
                 "what is reached without one: hosts, domains, addresses, CIDRs, with commas "
                 "(default: $NO_PROXY)");
  app.add_option("--config-file", options.config_file,
                 "daemon.json; insecure-registries, registry-mirrors and proxies are read from it");
  app.add_flag("--live-restore", options.live_restore,
               "containers go on running when the daemon is stopped; the next one takes them over");
  app.add_flag("!--no-network", options.networking, "make no bridge: only --network none works");
  app.add_option("--port-list", options.port_list,
                 "a file that lists published ports, for whoever offers them elsewhere");
  app.add_flag("--allow-link-local", options.link_local,
               "containers may reach 169.254.0.0/16, where clouds have metadata services");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return {.options = std::nullopt, .exit_code = app.exit(error)};
  }
  options.state = fs::absolute(options.state).lexically_normal();
  if (options.socket.empty()) options.socket = options.state / "docker.sock";
  options.socket = fs::absolute(options.socket).lexically_normal();
  if (!options.signature_policy.empty())
    options.signature_policy = fs::absolute(options.signature_policy).lexically_normal();
  if (!options.signature_lookaside.empty())
    options.signature_lookaside = fs::absolute(options.signature_lookaside).lexically_normal();
  if (options.layer_tool.empty()) options.layer_tool = find_program("containervm-layer", "images");
  if (options.file_server.empty())
    options.file_server = find_program("containervm-fileserver", "vmm/fileserver");
  return {.options = std::move(options), .exit_code = 0};
}

}  // namespace program
