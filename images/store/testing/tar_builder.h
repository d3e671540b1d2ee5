// TarBuilder: tar streams for tests, hostile ones too: nothing is checked.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace images::testing {

struct TarMember {
  std::string name;
  char type = '0';
  std::string content = {};
  std::string link = {};
  unsigned mode = 0644;
  unsigned uid = 0;
  unsigned gid = 0;
  std::int64_t mtime = 1'700'000'000;
  unsigned major = 0;
  unsigned minor = 0;
  std::vector<std::pair<std::string, std::string>> pax = {};
  std::string claimed_size = {};  // replaces the octal size field
};

class TarBuilder {
 public:
  TarBuilder& add(const TarMember& member) {
    if (!member.pax.empty()) add_pax(member.pax);
    append_header(member);
    append_padded(member.content);
    return *this;
  }
  TarBuilder& file(std::string name, std::string content) {
    return add({.name = std::move(name), .content = std::move(content)});
  }
  TarBuilder& directory(std::string name) {
    return add({.name = std::move(name), .type = '5', .mode = 0755});
  }
  TarBuilder& symlink(std::string name, std::string target) {
    return add({.name = std::move(name), .type = '2', .link = std::move(target), .mode = 0777});
  }
  TarBuilder& hard_link(std::string name, std::string target) {
    return add({.name = std::move(name), .type = '1', .link = std::move(target)});
  }
  TarBuilder& raw(std::string_view bytes) {
    out_ += bytes;
    return *this;
  }
  std::string finish() const { return out_ + std::string(1024, '\0'); }

 private:
  using Block = std::array<char, 512>;

  static std::string octal(std::uint64_t value, int width) {
    char text[32];
    std::snprintf(text, sizeof text, "%0*llo", width, static_cast<unsigned long long>(value));
    return text;
  }
  static void put(Block& block, std::size_t offset, std::string_view text) {
    std::memcpy(block.data() + offset, text.data(), std::min(text.size(), block.size() - offset));
  }
  void append_padded(const std::string& bytes) {
    out_ += bytes;
    out_.resize((out_.size() + 511) / 512 * 512);
  }
  void add_pax(const std::vector<std::pair<std::string, std::string>>& records) {
    std::string text;
    for (const auto& [key, value] : records) {
      const std::size_t body = key.size() + value.size() + 3;
      std::size_t length = body + 1;
      while (std::to_string(length).size() + body != length) ++length;
      text += std::to_string(length) + " " + key + "=" + value + "\n";
    }
    add({.name = "PaxHeaders/x", .type = 'x', .content = text});
  }
  void append_header(const TarMember& member) {
    Block block{};
    put(block, 0, member.name.substr(0, 100));
    put(block, 100, octal(member.mode, 7));
    put(block, 108, octal(member.uid, 7));
    put(block, 116, octal(member.gid, 7));
    put(block, 124,
        member.claimed_size.empty() ? octal(member.content.size(), 11) : member.claimed_size);
    put(block, 136, octal(static_cast<std::uint64_t>(member.mtime), 11));
    put(block, 148, "        ");
    block[156] = member.type;
    put(block, 157, member.link.substr(0, 100));
    put(block, 257, std::string_view("ustar\00000", 8));
    put(block, 329, octal(member.major, 7));
    put(block, 337, octal(member.minor, 7));
    unsigned sum = 0;
    for (const char c : block) sum += static_cast<unsigned char>(c);
    put(block, 148, octal(sum, 6) + std::string(1, '\0') + " ");
    out_.append(block.data(), block.size());
  }

  std::string out_;
};

}  // namespace images::testing
