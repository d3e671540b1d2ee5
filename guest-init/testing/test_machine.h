// A machine that runs guest-init, for tests: natively in namespaces (native_machine.cc) or a real
// one under KVM (vmm_machine.cc). A test program links one of the two.
#pragma once

#include <memory>
#include <string>

#include "guest-init/testing/host_connection.h"
#include "guest-init/testing/test_disks.h"

namespace guest_init::testing {

/// Of every test machine, from identify() on.
inline constexpr protocol::Secret kTestSecret = {0x5e, 0xc4, 0xe7};

class TestMachine {
 public:
  /// kNotSupported where this host cannot run one: the test is then skipped. `volumes`: files, made
  /// by make_test_volume, which only a real machine can have.
  static base::Result<std::unique_ptr<TestMachine>> start(std::vector<std::string> volumes = {});
  virtual ~TestMachine() = default;

  virtual HostConnection connect_control() = 0;
  /// A connection to the stream port, before its StreamOpen.
  virtual HostConnection connect_stream() = 0;
  HostConnection open_stream(std::uint32_t process, protocol::Stream stream,
                             std::uint64_t offset = 0) {
    HostConnection connection = connect_stream();
    protocol::StreamOpen open;
    open.process = process;
    open.stream = stream;
    open.offset = offset;
    open.secret = kTestSecret;
    connection.send(open);
    return connection;
  }

  /// A connection to the port of sockets, before its SocketOpen.
  virtual HostConnection connect_socket() = 0;

  enum class Port { kControl, kStreams, kSockets };
  /// A connection of somebody who is not the host; only where is_real() is false.
  virtual HostConnection connect_as_stranger(Port port) = 0;

  virtual const TestDisks& disks() const = 0;
  /// The directory that stands for what a file server shows; only where is_real() is false.
  virtual std::string shares() const { return {}; }
  /// Whether the machine has ended in order. Waits a bounded time.
  virtual bool wait_for_power_off() = 0;
  /// Whether containers that ask for an init can have one.
  virtual bool has_init_program() const = 0;
  /// Whether it has a kernel, a clock and devices of its own.
  virtual bool is_real() const = 0;
};

}  // namespace guest_init::testing
