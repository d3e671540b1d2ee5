// What the files tool (files/files_tool.h) and the host say to each other: frames (vmm/base/wire.h)
// on the tool's standard input and output.
//
// To the host, by command:
//   stat PATH       Stat | Failed
//   read PATH       Stat, then Entry and its Data..., then End | Failed at any point
//   export          Entry and its Data..., then End | Failed at any point
//   changes PATH... Change..., then End | Failed at any point; without what is in the directories
//                   PATH... (absolute), the container's volumes
//   layer PATH...   the same changes as an image's layer: Entry and its Data..., then End | Failed
//   build           takes Place, Entry and its Data..., ..., then End; answers as layer does
//   write PATH ...  takes Entry and its Data..., then End; answers End | Failed
// A regular file's entry is followed by exactly `size` bytes of Data. Directories come before what
// is in them; a hard link after the file that it names. Changes are those of the container to its
// image's files, as Docker counts them: a directory is there when something in it has changed.
//
// Trust: the host trusts nothing that arrives. The tool trusts the host but not the container,
// which may change its files at any moment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace protocol::files {

inline constexpr std::size_t kDataBytes = 64u << 10;  // most bytes in one Data

enum class FrameType : std::uint16_t {
  kEntry = 1,
  kData = 2,
  kEnd = 3,
  kFailed = 4,
  kStat = 5,
  kChange = 6,
  kPlace = 7
};

enum class EntryKind : std::uint8_t {
  kFile = 0,
  kDirectory = 1,
  kSymbolicLink = 2,
  kHardLink = 3,
  kCharacterDevice = 4,
  kBlockDevice = 5,
  kFifo = 6,
  kWhiteout = 7,  // of a layer only: what lower layers have at this path is gone
};

struct ExtendedAttribute {
  std::string name;  // "security.capability"
  std::vector<std::byte> value;
  static void fields(auto& self, auto&& visit) { visit(self.name, self.value); }
};

struct Entry {
  static constexpr FrameType kType = FrameType::kEntry;
  std::string path;  // relative; "." or "a/b"
  EntryKind kind = EntryKind::kFile;
  std::uint32_t mode = 0;  // the lower twelve bits
  std::uint32_t user = 0;
  std::uint32_t group = 0;
  std::uint64_t size = 0;  // of a regular file
  std::int64_t modified_ns = 0;
  std::string link;  // what a link points to
  std::uint32_t device_major = 0;
  std::uint32_t device_minor = 0;
  std::vector<ExtendedAttribute> attributes;
  static void fields(auto& self, auto&& visit) {
    visit(self.path, self.kind, self.mode, self.user, self.group, self.size, self.modified_ns,
          self.link, self.device_major, self.device_minor, self.attributes);
  }
};

struct Data {
  static constexpr FrameType kType = FrameType::kData;
  std::vector<std::byte> bytes;
  static void fields(auto& self, auto&& visit) { visit(self.bytes); }
};

struct End {
  static constexpr FrameType kType = FrameType::kEnd;
  bool complete = true;  // says nothing: the wire format wants at least one field
  static void fields(auto& self, auto&& visit) { visit(self.complete); }
};

/// Docker's numbers.
enum class ChangeKind : std::uint8_t { kModified = 0, kAdded = 1, kDeleted = 2 };

struct Change {
  static constexpr FrameType kType = FrameType::kChange;
  std::string path;  // relative: "etc/passwd"
  ChangeKind kind = ChangeKind::kModified;
  static void fields(auto& self, auto&& visit) { visit(self.path, self.kind); }
};

enum class PlaceKind : std::uint8_t {
  kDirectory = 0,  // what follows goes into the directory, which is made if it is not there
  kFile = 1,       // one file follows, for `path`; if that is a directory, it becomes `name` in it
};

/// A Failed about the owner of a Place has a message that begins so.
inline constexpr const char* kUnknownOwner = "unable to convert uid/gid chown string";

/// Host -> tool: where the entries that follow are written, and who will own them.
struct Place {
  static constexpr FrameType kType = FrameType::kPlace;
  PlaceKind kind = PlaceKind::kDirectory;
  std::string path;   // absolute; a file's, if it ends with a slash, is a directory
  std::string name;   // of the file
  std::string owner;  // "user:group", names or numbers; "": the entries' own
  static void fields(auto& self, auto&& visit) {
    visit(self.kind, self.path, self.name, self.owner);
  }
};

enum class FailureKind : std::uint8_t {
  kOther = 0,
  kNotFound = 1,       // the path does not exist
  kNotADirectory = 2,  // the path to write to is not a directory
  kRefused = 3,        // the request is not allowed
};

struct Failed {
  static constexpr FrameType kType = FrameType::kFailed;
  FailureKind kind = FailureKind::kOther;
  std::string message;
  static void fields(auto& self, auto&& visit) { visit(self.kind, self.message); }
};

/// lstat() of a path.
struct Stat {
  static constexpr FrameType kType = FrameType::kStat;
  std::uint64_t size = 0;
  std::uint32_t mode = 0;  // st_mode
  std::int64_t modified_ns = 0;
  std::string link_target;  // of a symbolic link: where it leads in the end, absolute
  static void fields(auto& self, auto&& visit) {
    visit(self.size, self.mode, self.modified_ns, self.link_target);
  }
};

}  // namespace protocol::files
