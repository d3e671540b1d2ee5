// TemplateSpec: everything that shapes a template, and so what it is called.
#pragma once

#include <cstdint>
#include <string>

#include "guest-init/protocol/messages.h"
#include "vmm/base/result.h"
#include "vmm/launch/messages.h"

namespace engine {

struct TemplatesConfig;

/// A clone may count on all of this being as its template's spec says. Two specs that are equal
/// make the same template; a template whose spec no daemon asks for any more is never found again.
struct TemplateSpec {
  /// The formats in which a template was written, and its guest-init speaks.
  struct Versions {
    static constexpr std::uint32_t kFiles = 3;  // of TemplateInfo

    std::uint32_t files = kFiles;
    std::uint32_t launch = launch::kVersion;
    std::uint32_t protocol = protocol::kVersion;
    friend bool operator==(const Versions&, const Versions&) = default;
    static void fields(auto& self, auto&& visit) { visit(self.files, self.launch, self.protocol); }
  };

  std::string architecture;  // of the machine: its name, and the host whose processors were saved
  std::string kernel;        // SHA-256 of each program that a template is made with
  std::string initramfs;
  std::string monitor;
  Versions versions;
  std::string tenant;         // no two share pages
  std::string tier = "base";  // how far the guest had come: guest-init waits for its container
  launch::Shape shape;

  friend bool operator==(const TemplateSpec&, const TemplateSpec&) = default;
  static void fields(auto& self, auto&& visit) {
    visit(self.architecture, self.kernel, self.initramfs, self.monitor, self.versions, self.tenant,
          self.tier, self.shape);
  }
};

/// The name of the template's directory: SHA-256 of all of it, in hexadecimal.
std::string template_key(const TemplateSpec& spec);

/// Whether two specs are of the same inputs: all but shape and tier is equal.
bool of_the_same_inputs(const TemplateSpec& a, TemplateSpec b);

/// The spec of this configuration on this host, but for the shape, which is to be filled in. Blocks
/// (reads the files). Errors: a file cannot be read.
base::Result<TemplateSpec> read_template_spec(const TemplatesConfig& config);

}  // namespace engine
