// The command line of containervmd.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "images/registry/http/proxy.h"
#include "vmm/base/result.h"

namespace program {

struct Options {
  std::filesystem::path state;            // absolute
  std::filesystem::path socket;           // absolute; default: <state>/docker.sock
  std::vector<std::string> socket_names;  // absolute, normal: what clients call it besides
  std::filesystem::path kernel;           // uncompressed vmlinux
  std::filesystem::path initramfs;        // guest-init.cpio
  std::filesystem::path monitor;          // containervm-vmm
  std::filesystem::path layer_tool;       // containervm-layer; default: beside this program
  std::filesystem::path file_server;      // containervm-fileserver; default: beside this program
  std::vector<std::string> host_directories;  // whose contents containers may have; empty: all
  std::filesystem::path signature_policy;     // absolute; empty: every image is accepted
  std::filesystem::path signature_lookaside;  // absolute; empty: none
  std::string log_level = "info";
  std::size_t pool = 2;  // clones kept ready
  bool networking = true;
  bool link_local = false;            // containers may reach 169.254.0.0/16
  std::string port_list;              // a file that lists published ports
  std::filesystem::path config_file;  // daemon.json; read by config_file.h
  std::vector<std::string> insecure_registries;
  std::vector<std::string> registry_mirrors;
  std::filesystem::path registry_certificates = "/etc/docker/certs.d";
  registry::ProxyOptions proxies;
  bool live_restore = false;  // the daemon's orderly end leaves containers running
};

/// Options to run with; or, after --help or a wrong flag, the exit code to end with at once. What
/// there was to say has been printed then.
struct ParsedOptions {
  std::optional<Options> options;
  int exit_code = 0;
};
ParsedOptions parse_options(int argc, const char* const* argv);

/// Fills in from the environment the proxies that neither a flag nor the configuration file names.
void take_proxies_from_environment(Options& options);

}  // namespace program
