#include "api/networks/networks.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

EndpointLease& EndpointLease::operator=(EndpointLease&& other) noexcept {
  EndpointLease ours(std::move(other));
  std::swap(lender_, ours.lender_);
  std::swap(endpoint_, ours.endpoint_);
  std::swap(tap_, ours.tap_);
  return *this;
}

EndpointLease::~EndpointLease() {
  tap_.reset();
  if (const auto lender = lender_.lock()) lender->take_back(endpoint_);
}

Result<base::UniqueFd> EndpointLease::take_tap() {
  if (!tap_) return Error{Code::kConflict, "the tap " + endpoint_.tap + " is in use already"};
  return std::move(tap_);
}

PortLease& PortLease::operator=(PortLease&& other) noexcept {
  PortLease ours(std::move(other));
  std::swap(lender_, ours.lender_);
  std::swap(port_, ours.port_);
  std::swap(reservation_, ours.reservation_);
  return *this;
}

PortLease::~PortLease() {
  if (const auto lender = lender_.lock()) lender->take_back_port(port_, std::move(reservation_));
}

}  // namespace engine
