// The daemon with fake machines, so that the stock client can be tried without KVM; with fake
// images too, unless containervm-layer is named. Not a product: it is built with the tests and
// installed nowhere.
#include <filesystem>
#include <iostream>

#include "api/fakes/fake_image_store.h"
#include "api/fakes/fake_machine_host.h"
#include "api/program/daemon.h"

int main(int argc, char** argv) {
  if (argc < 2 || argc > 6) {
    std::cerr << "usage: fake_containervmd STATE [LAYER-TOOL [REGISTRY-CERTS [MIRROR [POLICY]]]]\n";
    return 2;
  }
  const std::filesystem::path state = std::filesystem::absolute(argv[1]);
  program::DaemonConfig config{.state = state, .socket = state / "docker.sock"};
  const std::string layer_tool = argc > 2 ? argv[2] : "";
  if (argc > 3) config.registries.settings.certificates = argv[3];
  if (argc > 4 && *argv[4] != '\0') config.registries.settings.mirrors = {argv[4]};
  config.registries.settings.proxies = registry::proxies_from_environment();
  // What hangs in a test should not hang for a minute.
  config.registries.timeouts.stall = std::chrono::seconds(5);
  config.registries.retry.first_delay = std::chrono::milliseconds(50);
  if (argc > 5) config.signature_policy = argv[5];
  config.open_images = [state, layer_tool](std::shared_ptr<images::Admission> admission)
      -> base::Result<std::unique_ptr<images::Store>> {
    if (!layer_tool.empty()) {
      images::StoreOptions options;
      options.root = (state / "images").string();
      options.layer_tool = layer_tool;
      options.admission = std::move(admission);
      return images::Store::open(std::move(options));
    }
    return std::unique_ptr<images::Store>(std::make_unique<fakes::FakeImageStore>());
  };
  config.open_machines =
      [](boost::asio::io_context& io,
         const std::string&) -> base::Result<std::unique_ptr<engine::MachineHost>> {
    return std::unique_ptr<engine::MachineHost>(
        std::make_unique<fakes::FakeMachineHost>(io.get_executor()));
  };
  const auto result = program::run_daemon(config);
  if (!result) std::cerr << result.error().message << "\n";
  return result ? 0 : 1;
}
