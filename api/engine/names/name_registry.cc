#include "api/engine/names/name_registry.h"

#include "vmm/base/letters.h"

namespace engine {

namespace {

std::vector<std::string> addresses_of(const NamedPlace& place) {
  if (place.address6.empty()) return {place.address};
  return {place.address, place.address6};
}

}  // namespace

NameLease& NameLease::operator=(NameLease&& other) noexcept {
  NameLease ours(std::move(other));
  std::swap(lender_, ours.lender_);
  std::swap(id_, ours.id_);
  std::swap(number_, ours.number_);
  return *this;
}

NameLease::~NameLease() {
  if (const auto lender = lender_.lock()) lender->end(id_, number_);
}

NameLease NameRegistry::add(NamedContainer container) {
  const std::string id = container.id;
  if (const auto before = containers_.find(id); before != containers_.end())
    erase(before->second.container);
  insert(container);
  containers_[id] = {std::move(container), next_};
  return {weak_from_this(), id, next_++};
}

void NameRegistry::rename(NamedContainer container) {
  const auto found = containers_.find(container.id);
  if (found == containers_.end()) return;
  erase(found->second.container);
  insert(container);
  found->second.container = std::move(container);
}

void NameRegistry::insert(const NamedContainer& container) {
  for (const NamedPlace& place : container.places)
    for (const std::string& address : addresses_of(place)) {
      for (const std::string& name : place.names)
        addresses_[{place.network, base::lower_case(name)}].insert(address);
      if (!place.names.empty()) names_[{place.network, address}] = place.names.front();
    }
}

void NameRegistry::erase(const NamedContainer& container) {
  for (const NamedPlace& place : container.places)
    for (const std::string& address : addresses_of(place)) {
      for (const std::string& name : place.names)
        erase({place.network, base::lower_case(name)}, address);
      names_.erase({place.network, address});
    }
}

void NameRegistry::erase(const Key& name, const std::string& address) {
  const auto found = addresses_.find(name);
  if (found == addresses_.end()) return;
  if (const auto one = found->second.find(address); one != found->second.end())
    found->second.erase(one);
  if (found->second.empty()) addresses_.erase(found);
}

void NameRegistry::end(const std::string& id, std::uint64_t number) {
  const auto found = containers_.find(id);
  if (found == containers_.end() || found->second.number != number) return;
  erase(found->second.container);
  containers_.erase(found);
}

const NamedContainer* NameRegistry::find(const std::string& id) const {
  const auto found = containers_.find(id);
  return found == containers_.end() ? nullptr : &found->second.container;
}

std::vector<std::string> NameRegistry::addresses(const NamedContainer& asking,
                                                 const std::string& name) const {
  const std::string wanted = base::lower_case(name);
  for (const NamedPlace& place : asking.places) {
    const auto link = place.links.find(wanted);
    auto found = addresses_.find(
        {place.network, link == place.links.end() ? wanted : base::lower_case(link->second)});
    const std::string end = "." + base::lower_case(place.network);
    if (found == addresses_.end() && wanted.ends_with(end))
      found = addresses_.find({place.network, wanted.substr(0, wanted.size() - end.size())});
    if (found != addresses_.end()) return {found->second.begin(), found->second.end()};
  }
  return {};
}

std::string NameRegistry::name_of(const NamedContainer& asking, const std::string& address) const {
  for (const NamedPlace& place : asking.places)
    if (const auto found = names_.find({place.network, address}); found != names_.end())
      return found->second + "." + place.network;
  return {};
}

}  // namespace engine
