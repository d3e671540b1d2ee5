#include "vmm/arch/x86_64/cpuid.h"

#include <bit>

namespace x86_64 {
namespace {

constexpr std::uint32_t bit(unsigned number) { return 1u << number; }

// Leaf 1, ECX.
constexpr std::uint32_t kVmx = bit(5);
constexpr std::uint32_t kTscDeadline = bit(24);
constexpr std::uint32_t kHypervisor = bit(31);
// Leaf 1, EDX.
constexpr std::uint32_t kHyperthreading = bit(28);
// Leaf 0x80000001, ECX.
constexpr std::uint32_t kCmpLegacy = bit(1);
constexpr std::uint32_t kSvm = bit(2);
// Leaf 0x40000001, EAX. Asynchronous page faults keep tokens in the host that a clone lacks.
constexpr std::uint32_t kAsyncPageFaults = bit(4) | bit(10) | bit(14);

void add_topology(std::vector<kvm_cpuid_entry2>& leaves, std::uint32_t leaf, std::uint32_t vcpus,
                  std::uint32_t id_bits) {
  constexpr std::uint32_t kThreadLevel = 1u << 8;
  constexpr std::uint32_t kCoreLevel = 2u << 8;
  kvm_cpuid_entry2 level{};
  level.function = leaf;
  level.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
  level.ebx = 1;
  level.ecx = kThreadLevel;
  leaves.push_back(level);
  level.index = 1;
  level.eax = id_bits;
  level.ebx = vcpus;
  level.ecx = kCoreLevel | 1;
  leaves.push_back(level);
  level.index = 2;
  level.eax = level.ebx = 0;
  level.ecx = 2;
  leaves.push_back(level);
}

void adjust(kvm_cpuid_entry2& leaf, std::uint32_t vcpus, std::uint32_t id_bits) {
  switch (leaf.function) {
    case 0x1:
      leaf.ecx |= kHypervisor | kTscDeadline;
      leaf.ecx &= ~kVmx;
      leaf.ebx = (leaf.ebx & 0x0000ffff) | (vcpus << 16);
      leaf.edx = vcpus > 1 ? leaf.edx | kHyperthreading : leaf.edx & ~kHyperthreading;
      break;
    case 0x4:  // Intel: no cache is shared, cores per package
      leaf.eax = (leaf.eax & 0x3fff) | (((1u << id_bits) - 1) << 26);
      break;
    case 0x80000001:
      leaf.ecx &= ~kSvm;
      leaf.ecx = vcpus > 1 ? leaf.ecx | kCmpLegacy : leaf.ecx & ~kCmpLegacy;
      break;
    case 0x80000008:  // AMD: width of the core number, cores - 1
      leaf.ecx = (leaf.ecx & ~0xf0ffu) | (id_bits << 12) | (vcpus - 1);
      break;
    case 0x8000001d:  // AMD: no cache is shared
      leaf.eax &= 0x3fff;
      break;
    case 0x8000001e:
      leaf.ecx = 0;
      break;
    case 0x40000001:
      leaf.eax &= ~kAsyncPageFaults;
      break;
    default:
      break;
  }
}

bool is_replaced(std::uint32_t function) {
  // Topology leaves are written anew; 0x80000026 and 0x1f would contradict them; nested SVM is off.
  return function == 0xb || function == 0x1f || function == 0x80000026 || function == 0x8000000a;
}

}  // namespace

std::vector<kvm_cpuid_entry2> machine_cpuid(std::vector<kvm_cpuid_entry2> supported,
                                            std::uint32_t vcpus) {
  const auto id_bits = static_cast<std::uint32_t>(std::bit_width(vcpus - 1));
  bool has_topology = false;
  std::vector<kvm_cpuid_entry2> leaves;
  leaves.reserve(supported.size() + 3);
  for (kvm_cpuid_entry2& leaf : supported) {
    if (leaf.function == 0x0 && leaf.eax >= 0xb) has_topology = true;
    if (is_replaced(leaf.function)) continue;
    adjust(leaf, vcpus, id_bits);
    leaves.push_back(leaf);
  }
  if (has_topology) add_topology(leaves, 0xb, vcpus, id_bits);
  set_processor_id(leaves, 0);
  return leaves;
}

void set_processor_id(std::span<kvm_cpuid_entry2> leaves, std::uint32_t id) {
  for (kvm_cpuid_entry2& leaf : leaves) {
    switch (leaf.function) {
      case 0x1:
        leaf.ebx = (leaf.ebx & 0x00ffffff) | (id << 24);
        break;
      case 0xb:
        leaf.edx = id;
        break;
      case 0x8000001e:
        leaf.eax = id;
        leaf.ebx = id & 0xff;
        break;
      default:
        break;
    }
  }
}

}  // namespace x86_64
