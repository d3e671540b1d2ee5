#include "api/machines/templates/template_spec.h"

#include <openssl/evp.h>

#include <filesystem>
#include <fstream>
#include <iomanip>
#include <memory>
#include <sstream>
#include <vector>

#include "api/machines/templates/templates.h"
#include "vmm/arch/host.h"

namespace engine {

namespace {

using base::Code;
using base::Error;
using base::Result;

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr);
  }
  void add(const void* data, std::size_t size) { EVP_DigestUpdate(context_.get(), data, size); }
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

Result<std::string> hash_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return base::errno_error("read " + path.string());
  Sha256 hash;
  std::vector<char> buffer(256u << 10);
  while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || file.gcount() > 0)
    hash.add(buffer.data(), static_cast<std::size_t>(file.gcount()));
  if (file.bad()) return Error{Code::kDataLoss, "reading " + path.string() + " failed"};
  return hash.hex();
}

}  // namespace

std::string template_key(const TemplateSpec& spec) {
  const wire::Bytes bytes = wire::encode(spec);
  Sha256 hash;
  hash.add(bytes.data(), bytes.size());
  return hash.hex();
}

bool of_the_same_inputs(const TemplateSpec& a, TemplateSpec b) {
  b.shape = a.shape;
  b.tier = a.tier;
  return a == b;
}

Result<TemplateSpec> read_template_spec(const TemplatesConfig& config) {
  TemplateSpec spec;
  spec.architecture = std::string(arch::kName) + "\n" + arch::host_identity();
  spec.tenant = config.tenant;
  for (const auto& [path, into] :
       {std::pair(&config.kernel, &spec.kernel), std::pair(&config.initramfs, &spec.initramfs),
        std::pair(&config.monitor, &spec.monitor)}) {
    auto content = hash_file(*path);
    if (!content) return std::move(content).error();
    *into = *std::move(content);
  }
  return spec;
}

}  // namespace engine
