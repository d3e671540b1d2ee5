#include "api/machines/templates/templates.h"

#include <openssl/evp.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <fstream>
#include <iomanip>
#include <sstream>

#include "api/async/shield.h"
#include "api/machines/templates/template_builder.h"
#include "api/machines/templates/template_files.h"
#include "guest-init/protocol/messages.h"

namespace engine {

namespace {

using base::Code;
using base::Error;
using base::Result;
namespace fs = std::filesystem;

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr);
  }
  void add(const void* data, std::size_t size) { EVP_DigestUpdate(context_.get(), data, size); }
  /// Length first, so that neighbours cannot be confused.
  void add_field(const std::string& text) {
    const std::string head = std::to_string(text.size()) + ":";
    add(head.data(), head.size());
    add(text.data(), text.size());
  }
  std::string hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    EVP_DigestFinal_ex(context_.get(), digest, &size);
    std::ostringstream out;
    out << std::hex << std::setfill('0');
    for (unsigned int i = 0; i < size; ++i) out << std::setw(2) << unsigned{digest[i]};
    return out.str();
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

Result<std::string> hash_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return base::errno_error("read " + path.string());
  Sha256 hash;
  std::vector<char> buffer(256u << 10);
  while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || file.gcount() > 0)
    hash.add(buffer.data(), static_cast<std::size_t>(file.gcount()));
  if (file.bad()) return Error{Code::kDataLoss, "reading " + path.string() + " failed"};
  return hash.hex();
}

/// What a saved CPU state depends on: the model and its features, and the host kernel whose KVM
/// saved it.
std::string cpu_identity() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  std::string line;
  std::string identity;
  while (std::getline(cpuinfo, line) && !line.empty())
    for (const char* key : {"vendor_id", "cpu family", "model", "stepping", "microcode", "flags"})
      if (line.starts_with(key)) identity += line + "\n";
  std::ifstream release("/proc/sys/kernel/osrelease");
  std::getline(release, line);
  return identity + line;
}

}  // namespace

Result<std::string> template_inputs_hash(const TemplatesConfig& config) {
  Sha256 hash;
  for (const fs::path& input : {config.kernel, config.initramfs, config.monitor}) {
    const auto content = hash_file(input);
    if (!content) return content.error();
    hash.add_field(*content);
  }
  hash.add_field(std::to_string(launch::kVersion) + "." + std::to_string(protocol::kVersion) + "." +
                 std::to_string(TemplateInfo::kVersion));
  hash.add_field(config.tenant);
  hash.add_field(cpu_identity());
  return hash.hex();
}

std::string template_key(const std::string& inputs_hash, const launch::Shape& shape) {
  Sha256 hash;
  hash.add_field(inputs_hash);
  hash.add_field(std::to_string(shape.vcpus));
  hash.add_field(std::to_string(shape.memory_bytes));
  hash.add_field(std::to_string(shape.network_cards));
  return hash.hex();
}

Templates::Templates(net::any_io_executor executor, async::BlockingPool& pool,
                     MonitorLauncher& launcher, TemplatesConfig config)
    : executor_(std::move(executor)),
      pool_(pool),
      launcher_(launcher),
      config_(std::move(config)) {}

std::shared_ptr<const Template> Templates::find(const launch::Shape& shape) const {
  const auto found = ready_.find(key_of(shape));
  return found == ready_.end() ? nullptr : found->second;
}

net::awaitable<Templates::Found> Templates::get(launch::Shape shape) {
  const ShapeKey key = key_of(shape);
  for (bool waited = false;; waited = true) {
    if (auto found = find(shape)) co_return found;
    const auto building = building_.find(key);
    if (building == building_.end()) break;
    const async::Reply<Found> pending = building->second;
    Found found = co_await pending.wait();
    // The first one began before this request: what it failed for may be mended by now.
    if (found || waited) co_return found;
  }
  async::Reply<Found> reply(executor_);
  building_.emplace(key, reply);
  Found found = co_await async::shielded(load_or_build(shape));
  if (found) ready_.emplace(key, *found);
  building_.erase(key);
  reply.set(found);
  co_return found;
}

net::awaitable<Result<std::string>> Templates::inputs_hash() {
  if (!inputs_hash_.empty()) co_return inputs_hash_;
  std::function<Result<std::string>()> work = [config = config_]() -> Result<std::string> {
    std::error_code error;
    fs::create_directories(config.root, error);
    auto hash = template_inputs_hash(config);
    if (hash) remove_outdated_templates(config.root, *hash);
    return hash;
  };
  const auto hash = co_await pool_.run(std::move(work));
  if (hash && inputs_hash_.empty()) inputs_hash_ = *hash;
  co_return hash;
}

net::awaitable<Templates::Found> Templates::load_or_build(launch::Shape shape) {
  const auto inputs = co_await inputs_hash();
  if (!inputs) co_return inputs.error();
  const std::string key = template_key(*inputs, shape);
  const fs::path directory = config_.root / key;
  if (auto found = open_template(directory, key)) co_return found;

  spdlog::info("building the template for {} vCPU, {} MiB", shape.vcpus, shape.memory_bytes >> 20);
  auto draft = TemplateDraft::create(directory);
  if (!draft) co_return base::annotate(std::move(draft).error(), "build a template");
  auto builder = std::make_shared<TemplateBuilder>(executor_, pool_, launcher_, config_);
  const std::string name = "template-" + std::to_string(builds_++);
  const auto saved = co_await TemplateBuilder::build(builder, name, shape, *draft);
  if (!saved) co_return base::annotate(saved.error(), "build a template");

  TemplateInfo info;
  info.inputs_hash = *inputs;
  info.key = key;
  info.shape = shape;
  info.streams = saved->streams;
  info.resident_bytes = saved->resident_bytes;
  std::function<Found()> publish = [&draft, info, directory, key]() -> Found {
    RETURN_IF_ERROR(draft->publish(info, directory));
    return open_template(directory, key);
  };
  Found found = co_await pool_.run(std::move(publish));
  if (found)
    spdlog::info("template {} is ready: {} MiB of {} MiB", key.substr(0, 12),
                 saved->resident_bytes >> 20, shape.memory_bytes >> 20);
  co_return found;
}

}  // namespace engine
