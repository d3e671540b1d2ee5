#include "api/engine/state/identifiers.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <random>

namespace engine {

namespace {

constexpr std::array<std::string_view, 48> kAdjectives{
    "agile",   "amber",  "ample",  "brave",  "brisk",   "calm",   "candid", "clever",
    "coral",   "crisp",  "daring", "deep",   "eager",   "early",  "fair",   "fleet",
    "fluent",  "fresh",  "gentle", "glad",   "golden",  "grand",  "happy",  "hardy",
    "honest",  "humble", "jolly",  "keen",   "kind",    "lively", "lucid",  "merry",
    "mild",    "modest", "nimble", "noble",  "patient", "polite", "quick",  "quiet",
    "radiant", "serene", "silver", "steady", "sunny",   "swift",  "vivid",  "warm"};

/// Surnames of people who made computing, and the science below it, what it is.
constexpr std::array<std::string_view, 48> kSurnames{
    "abel",     "allen",    "babbage",  "backus",   "bernoulli", "boole",    "cantor",    "cerf",
    "church",   "clarke",   "codd",     "cray",     "curie",     "dijkstra", "engelbart", "euler",
    "faraday",  "fermat",   "floyd",    "gauss",    "germain",   "goldberg", "hamilton",  "hamming",
    "hoare",    "hopper",   "huffman",  "kay",      "kernighan", "knuth",    "lamport",   "liskov",
    "lovelace", "mccarthy", "milner",   "moore",    "noether",   "pascal",   "perlman",   "postel",
    "ritchie",  "shannon",  "strachey", "thompson", "turing",    "wilkes",   "wirth",     "zuse"};

std::uint32_t random_number() {
  std::random_device device;
  return device();
}

}  // namespace

std::string random_id() {
  for (;;) {
    std::array<unsigned char, 32> bytes{};
    if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) continue;
    std::string id;
    for (const unsigned char byte : bytes) {
      id.push_back("0123456789abcdef"[byte >> 4]);
      id.push_back("0123456789abcdef"[byte & 15]);
    }
    // A short ID of decimal digits only would look like a number to clients and shells.
    if (std::any_of(id.begin(), id.begin() + 12, [](unsigned char c) { return !std::isdigit(c); }))
      return id;
  }
}

protocol::Secret random_secret() {
  protocol::Secret secret{};
  while (::getrandom(secret.data(), secret.size(), 0) != static_cast<ssize_t>(secret.size())) {
  }
  return secret;
}

std::string random_name(int attempt) {
  std::string name(kAdjectives[random_number() % kAdjectives.size()]);
  name += '_';
  name += kSurnames[random_number() % kSurnames.size()];
  if (attempt > 0) name += std::to_string(random_number() % 1000);
  return name;
}

std::string network_id(std::string_view host_id, std::string_view name) {
  // FNV-1a in four lanes: it need only be stable and distinct, nobody is kept out by it.
  const std::string text = std::string(host_id) + "/" + std::string(name);
  std::string id;
  for (std::uint64_t lane = 0; lane < 4; ++lane) {
    std::uint64_t hash = 0xcbf29ce484222325u ^ (lane * 0x9e3779b97f4a7c15u);
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016" PRIx64, hash);
    id += digits;
  }
  return id;
}

bool is_valid_name(std::string_view name) {
  if (name.size() < 2 || name.size() > 255) return false;
  const auto alphanumeric = [](unsigned char c) { return std::isalnum(c) != 0; };
  return alphanumeric(static_cast<unsigned char>(name[0])) &&
         std::all_of(name.begin(), name.end(), [&](unsigned char c) {
           return alphanumeric(c) || c == '_' || c == '.' || c == '-';
         });
}

}  // namespace engine
