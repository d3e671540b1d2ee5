// NameRegistry: which names containers have on networks that were created, and at which addresses,
// of IPv4 and of IPv6.
//
// Names are compared without regard to case. A container is known by them while it has a NameLease.
// Threads: the io_context thread. Memory: what running containers are called.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace engine {

/// A container's place on one network.
struct NamedPlace {
  std::string network;
  std::string address;
  std::vector<std::string> names;  // the first is what a reverse look-up says; none: no names here
  bool leads_out = true;           // the network is not internal
  /// What the container calls others there: their names, by its own for them.
  std::map<std::string, std::string> links = {};
  std::string address6 = {};  // empty: the network has no IPv6
};

struct NamedContainer {
  std::string id;  // its machine's: that is what asks
  std::vector<NamedPlace> places;
  std::vector<std::string> servers;  // who is asked for names that are no container's; none: host's
};

class NameRegistry;

/// The container has its names until this is destroyed.
class NameLease {
 public:
  NameLease() = default;
  NameLease(NameLease&& other) noexcept = default;
  NameLease& operator=(NameLease&& other) noexcept;
  ~NameLease();

 private:
  friend class NameRegistry;
  NameLease(std::weak_ptr<NameRegistry> lender, std::string id, std::uint64_t number)
      : lender_(std::move(lender)), id_(std::move(id)), number_(number) {}

  std::weak_ptr<NameRegistry> lender_;  // none: moved away
  std::string id_;
  std::uint64_t number_ = 0;
};

class NameRegistry : public std::enable_shared_from_this<NameRegistry> {
 public:
  /// What was known of a container of this ID before is forgotten.
  [[nodiscard]] NameLease add(NamedContainer container);
  /// Other names, of one that has a lease; nothing happens without.
  void rename(NamedContainer container);

  /// Null if it has no lease.
  const NamedContainer* find(const std::string& id) const;
  /// Where `name`, with its network's name behind it or without, is on the networks that the asking
  /// container is on, by IPv4 and IPv6; those of the first network that knows it. Its own links
  /// come first.
  std::vector<std::string> addresses(const NamedContainer& asking, const std::string& name) const;
  /// "web.mine": whose address it is on a network of the asking container's. Empty: nobody's.
  std::string name_of(const NamedContainer& asking, const std::string& address) const;

 private:
  friend class NameLease;
  using Key = std::pair<std::string, std::string>;  // a network, and a name or an address on it

  void insert(const NamedContainer& container);
  void erase(const NamedContainer& container);
  void erase(const Key& name, const std::string& address);
  /// Unless a later lease has taken its place.
  void end(const std::string& id, std::uint64_t number);

  struct Entry {
    NamedContainer container;
    std::uint64_t number = 0;  // of its lease
  };

  std::map<std::string, Entry> containers_;  // by ID
  std::uint64_t next_ = 1;
  std::map<Key, std::multiset<std::string>> addresses_;
  std::map<Key, std::string> names_;
};

}  // namespace engine
