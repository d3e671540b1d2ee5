#include "api/engine/settings/settings_fields.h"

#include <array>

namespace engine {

namespace {

using enum FieldType;
using enum Support;

constexpr std::string_view kBlockRates =
    "each of the guest's disks, if the device holds the containers' files; else there is none";
constexpr std::string_view kBlockWeights =
    "against other containers; refused at start where the host's kernel has no such weights";

constexpr auto kConfigFields = std::to_array<Field>({
    {"Hostname", kString, R"("")", kHonoured, "default: the short ID"},
    {"Domainname", kString, R"("")", kHonoured, ""},
    {"User", kString, R"("")", kHonoured, ""},
    {"AttachStdin", kBool, "false", kInformation, "what the client will attach"},
    {"AttachStdout", kBool, "false", kInformation, "what the client will attach"},
    {"AttachStderr", kBool, "false", kInformation, "what the client will attach"},
    {"ExposedPorts", kSet, "null", kHonoured, "what PublishAllPorts publishes"},
    {"Tty", kBool, "false", kHonoured, ""},
    {"OpenStdin", kBool, "false", kHonoured, ""},
    {"StdinOnce", kBool, "false", kHonoured, ""},
    {"Env", kStrings, "[]", kHonoured, ""},
    {"Cmd", kCommand, "null", kHonoured, ""},
    {"Healthcheck", kObject, "null", kHonoured, "each field left out is the image's"},
    {"ArgsEscaped", kBool, "false", kInformation, "Windows only"},
    {"Image", kString, R"("")", kHonoured, ""},
    {"Volumes", kSet, "null", kHonoured, "a new volume each, as for an image's VOLUME"},
    {"WorkingDir", kString, R"("")", kHonoured, "created when missing"},
    {"Entrypoint", kCommand, "null", kHonoured, ""},
    {"NetworkDisabled", kBool, "false", kHonoured, "as network none"},
    {"MacAddress", kString, R"("")", kHonoured, "of the endpoint on NetworkMode's network"},
    {"OnBuild", kStrings, "null", kInformation, "for builds"},
    {"Labels", kStringMap, "{}", kInformation, "shown, and filtered by"},
    {"StopSignal", kString, R"("")", kHonoured, ""},
    {"StopTimeout", kInteger, "null", kHonoured, ""},
    {"Shell", kStrings, "null", kHonoured, "of a CMD-SHELL health check; else for builds"},
});

constexpr auto kHostConfigFields = std::to_array<Field>({
    {"Binds", kStrings, "null", kChecked,
     "volumes by name, files and directories of the host; no propagation but private (`rprivate`)"},
    {"ContainerIDFile", kString, R"("")", kInformation, "written by the client"},
    {"LogConfig", kObject, R"({"Type":"json-file","Config":{}})", kChecked,
     "Type json-file or none; tag takes fields such as {{.Name}}, no functions"},
    {"NetworkMode", kString, R"("bridge")", kChecked,
     "default, bridge, none, container:X, or a network's name or ID; no host"},
    {"PortBindings", kObject, "{}", kHonoured, "tcp and udp, at IPv4 addresses of the host"},
    {"RestartPolicy", kObject, R"({"Name":"no","MaximumRetryCount":0})", kHonoured, ""},
    {"AutoRemove", kBool, "false", kHonoured, ""},
    {"VolumeDriver", kString, R"("")", kChecked, "local"},
    {"VolumesFrom", kStrings, "null", kHonoured,
     "volumes that are disks while the other container does not run"},
    {"ConsoleSize", kArray, "[0,0]", kHonoured, "the terminal's first rows and columns"},
    {"Annotations", kStringMap, "null", kInformation, "shown again"},
    {"CapAdd", kStrings, "null", kHonoured, ""},
    {"CapDrop", kStrings, "null", kHonoured, ""},
    {"CgroupnsMode", kString, R"("private")", kChecked, "private"},
    {"Dns", kStrings, "[]", kHonoured, ""},
    {"DnsOptions", kStrings, "[]", kHonoured, ""},
    {"DnsSearch", kStrings, "[]", kHonoured, ""},
    {"ExtraHosts", kStrings, "null", kHonoured,
     "host-gateway is the bridge's address; a container that says it may ask services of the host"},
    {"GroupAdd", kStrings, "null", kHonoured, ""},
    {"IpcMode", kString, R"("private")", kChecked,
     "private, shareable, none, container:X (with its network, or none); no host"},
    {"Cgroup", kString, R"("")", kRefused, "containers do not share cgroups"},
    {"Links", kStrings, "null", kHonoured,
     "on the default network: /etc/hosts and variables; else those of NetworkMode's endpoint"},
    {"OomScoreAdj", kInteger, "0", kHonoured, "inside the guest"},
    {"PidMode", kString, R"("")", kChecked, "container:X (with its network, or none); no host"},
    {"Privileged", kBool, "false", kHonoured,
     "everything inside the guest, its init included; nothing of the host"},
    {"PublishAllPorts", kBool, "false", kHonoured, ""},
    {"ReadonlyRootfs", kBool, "false", kHonoured, ""},
    {"SecurityOpt", kStrings, "null", kChecked,
     "no-new-privileges, seccomp (unconfined, builtin or a profile; judged alike for x86-64, i386 "
     "and x32, so i386's `socketcall` fails where `socket` depends on its arguments, as in the "
     "default), apparmor=unconfined, label=disable"},
    {"StorageOpt", kStringMap, "null", kChecked, "size"},
    {"Tmpfs", kStringMap, "null", kHonoured, ""},
    {"UTSMode", kString, R"("")", kRefused, "a machine does not have the host's names"},
    {"UsernsMode", kString, R"("")", kChecked, "host (no remapping: the machine isolates)"},
    {"ShmSize", kInteger, "67108864", kHonoured, ""},
    {"Sysctls", kStringMap, "null", kHonoured, ""},
    {"Runtime", kString, R"("containervm")", kChecked, "containervm, or runc as its other name"},
    {"Isolation", kString, R"("")", kChecked, "default"},
    {"CpuShares", kInteger, "0", kHonoured, "against other containers and inside the guest"},
    {"Memory", kInteger, "0", kHonoured, ""},
    {"NanoCpus", kInteger, "0", kHonoured, ""},
    {"CgroupParent", kString, R"("")", kRefused, "containers have no cgroup on the host"},
    {"BlkioWeight", kInteger, "0", kHonoured, kBlockWeights},
    {"BlkioWeightDevice", kArray, "[]", kHonoured, kBlockWeights},
    {"BlkioDeviceReadBps", kArray, "[]", kHonoured, kBlockRates},
    {"BlkioDeviceWriteBps", kArray, "[]", kHonoured, kBlockRates},
    {"BlkioDeviceReadIOps", kArray, "[]", kHonoured, kBlockRates},
    {"BlkioDeviceWriteIOps", kArray, "[]", kHonoured, kBlockRates},
    {"CpuPeriod", kInteger, "0", kHonoured, ""},
    {"CpuQuota", kInteger, "0", kHonoured, ""},
    {"CpuRealtimePeriod", kInteger, "0", kRefused, "no realtime scheduling in the guest"},
    {"CpuRealtimeRuntime", kInteger, "0", kRefused, "no realtime scheduling in the guest"},
    {"CpusetCpus", kString, R"("")", kHonoured, "CPUs of the guest"},
    {"CpusetMems", kString, R"("")", kChecked, "0: a guest has one memory node"},
    {"Devices", kArray, "[]", kRefused, "no devices of the host in the guest"},
    {"DeviceCgroupRules", kStrings, "null", kRefused, "no devices of the host in the guest"},
    {"DeviceRequests", kArray, "null", kRefused, "no devices of the host in the guest"},
    {"MemoryReservation", kInteger, "0", kHonoured, ""},
    {"MemorySwap", kInteger, "0", kHonoured, "the guest has no swap space"},
    {"MemorySwappiness", kInteger, "null", kChecked,
     "-1 (the default): cgroup v2 has no such knob"},
    {"OomKillDisable", kBool, "null", kRefused, "cgroup v2 cannot disable the OOM killer"},
    {"PidsLimit", kInteger, "null", kHonoured, ""},
    {"Ulimits", kArray, "null", kHonoured, ""},
    {"CpuCount", kInteger, "0", kRefused, "Windows only"},
    {"CpuPercent", kInteger, "0", kRefused, "Windows only"},
    {"IOMaximumIOps", kInteger, "0", kRefused, "Windows only"},
    {"IOMaximumBandwidth", kInteger, "0", kRefused, "Windows only"},
    {"KernelMemory", kInteger, "0", kRefused, "removed from the kernel"},
    {"KernelMemoryTCP", kInteger, "0", kRefused, "cgroup v2 has no such limit"},
    {"Mounts", kArray, "null", kChecked,
     "Type volume, bind or tmpfs; a bind's source is a file or a directory, its propagation "
     "private"},
    {"MaskedPaths", kStrings, "null", kHonoured, "default: Docker's list"},
    {"ReadonlyPaths", kStrings, "null", kHonoured, "default: Docker's list"},
    {"Init", kBool, "null", kHonoured, ""},
});

constexpr std::string_view kShown = "what inspect shows: clients send it back, Docker ignores it";

constexpr auto kEndpointFields = std::to_array<Field>({
    {"IPAMConfig", kObject, "null", kChecked,
     "IPv4Address, and IPv6Address where the network was given a subnet of IPv6, on networks that "
     "were created; no LinkLocalIPs"},
    {"Links", kStrings, "null", kHonoured, "on networks that were created"},
    {"Aliases", kStrings, "null", kHonoured, "on networks that were created"},
    {"MacAddress", kString, R"("")", kHonoured, "default: derived from the address"},
    {"GwPriority", kInteger, "0", kHonoured, "the highest has the default route"},
    {"DriverOpts", kStringMap, "null", kRefused, "an endpoint has no options"},
    {"DNSNames", kStrings, "null", kInformation, kShown},
    {"NetworkID", kString, R"("")", kInformation, kShown},
    {"EndpointID", kString, R"("")", kInformation, kShown},
    {"Gateway", kString, R"("")", kInformation, kShown},
    {"IPAddress", kString, R"("")", kInformation, kShown},
    {"IPPrefixLen", kInteger, "0", kInformation, kShown},
    {"IPv6Gateway", kString, R"("")", kInformation, kShown},
    {"GlobalIPv6Address", kString, R"("")", kInformation, kShown},
    {"GlobalIPv6PrefixLen", kInteger, "0", kInformation, kShown},
});

constexpr auto kNetworkFields = std::to_array<Field>({
    {"Name", kString, R"("")", kHonoured, ""},
    {"CheckDuplicate", kBool, "false", kInformation, "a name is one network's, always"},
    {"Driver", kString, R"("bridge")", kChecked, "bridge"},
    {"Scope", kString, R"("")", kChecked, "local"},
    {"EnableIPv4", kBool, "true", kChecked, "true"},
    {"EnableIPv6", kBool, "false", kHonoured, "no published ports over IPv6"},
    {"IPAM", kObject, "{}", kChecked,
     "Driver default; one subnet of IPv4 and, with EnableIPv6, one of IPv6, each with its Gateway, "
     "IPRange, AuxiliaryAddresses; no Options"},
    {"Internal", kBool, "false", kHonoured, ""},
    {"Attachable", kBool, "false", kInformation,
     "every container can be connected, as with Docker"},
    {"Ingress", kBool, "false", kRefused, "there is no swarm"},
    {"ConfigOnly", kBool, "false", kRefused, "each network has a configuration of its own"},
    {"ConfigFrom", kObject, "null", kChecked,
     "nothing: each network has a configuration of its own"},
    {"Options", kStringMap, "{}", kChecked,
     "com.docker.network.bridge.name, .enable_icc, .enable_ip_masquerade, .host_binding_ipv4, "
     "com.docker.network.driver.mtu"},
    {"Labels", kStringMap, "{}", kInformation, "shown, and filtered by"},
});

constexpr auto kExecFields = std::to_array<Field>({
    {"User", kString, R"("")", kHonoured, "default: the container's"},
    {"Privileged", kBool, "false", kHonoured, ""},
    {"Tty", kBool, "false", kHonoured, ""},
    {"ConsoleSize", kArray, "null", kHonoured, "unless the start's request has one"},
    {"AttachStdin", kBool, "false", kHonoured, ""},
    {"AttachStdout", kBool, "false", kHonoured, ""},
    {"AttachStderr", kBool, "false", kHonoured, ""},
    {"DetachKeys", kString, R"("")", kHonoured, ""},
    {"Env", kStrings, "[]", kHonoured, "added to the container's"},
    {"WorkingDir", kString, R"("")", kHonoured, "default: the container's"},
    {"Cmd", kStrings, "[]", kHonoured, ""},
    {"Detach", kBool, "false", kInformation, "the start's request says it"},
    {"Container", kString, R"("")", kInformation, "the path says it"},
});

std::string_view word_for(Support support) {
  switch (support) {
    case kHonoured:
      return "honoured";
    case kInformation:
      return "kept";
    case kChecked:
      return "some values";
    case kRefused:
      return "refused";
  }
  return "";
}

void append_table(std::string& out, std::span<const Field> fields) {
  out += "\n| field | support | note |\n|---|---|---|\n";
  for (const Field& field : fields) {
    out += "| " + std::string(field.name) + " | " + std::string(word_for(field.support)) + " | ";
    out += std::string(field.note) + " |\n";
  }
}

void append_rows(std::string& out, std::string_view title, std::span<const Field> fields) {
  out += "\n## " + std::string(title) + "\n";
  append_table(out, fields);
}

}  // namespace

std::span<const Field> config_fields() { return kConfigFields; }
std::span<const Field> host_config_fields() { return kHostConfigFields; }
std::span<const Field> endpoint_fields() { return kEndpointFields; }
std::span<const Field> network_fields() { return kNetworkFields; }
std::span<const Field> exec_fields() { return kExecFields; }

std::string fields_as_markdown() {
  std::string out =
      "# Fields of requests\n\n"
      "Written from the table in `api/engine/settings/settings_fields.cc`; a test compares the "
      "two.\n"
      "*honoured*: does what Docker documents. *kept*: shown again, asks nothing of the host.\n"
      "*some values*: the note says which; others are refused. *refused*: anything but the "
      "default\n"
      "is an error that says so. A field that is not listed is refused too. A field of HostConfig "
      "may also\nstand beside it, as in requests of old clients; HostConfig's own comes first.\n"
      "\nOf a create request's query `name` is honoured, and `platform` if it is this host's; "
      "`start` "
      "takes no body\nand no checkpoint, as with Docker. `update` changes what Docker's "
      "does, and refuses the rest of HostConfig; `commit` takes\nthe fields of Config, of which an "
      "image keeps those that it has. An exec's start honours Detach, Tty and ConsoleSize, "
      "and\nlike "
      "Docker looks at nothing else.\n";
  append_rows(out, "Config", kConfigFields);
  append_rows(out, "HostConfig", kHostConfigFields);
  out +=
      "\n## NetworkingConfig.EndpointsConfig\n\nBy a network's name or ID. `default` and `bridge` "
      "are the same. Before API 1.44 one at most. A network that this host does not have is\nan "
      "error at start, as with Docker. A connect request has the same fields. Each endpoint:\n";
  append_table(out, kEndpointFields);
  append_rows(out, "Network (POST /networks/create)", kNetworkFields);
  append_rows(out, "Exec", kExecFields);
  return out;
}

}  // namespace engine
