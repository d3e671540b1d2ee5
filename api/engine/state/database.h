// Database: the SQLite file that is the only truth about objects (WAL; schema versions;
// migrations).
//
// Threads: the io_context thread. Durability: a committed change survives kill -9 of the daemon; a
// power cut may take the last ones (synchronous=NORMAL), never the file's consistency.
// Errors: kDataLoss for a damaged file or one of a newer schema, kResourceExhausted for a full
// disk, else kInternal.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "vmm/base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace engine {

class Database {
 public:
  using Value = std::variant<std::int64_t, std::string>;

  /// One row of a query; valid during the callback.
  class Row {
   public:
    explicit Row(sqlite3_stmt* statement) : statement_(statement) {}
    std::string text(int column) const;
    std::int64_t integer(int column) const;
    /// Whether the value is an integer: SQLite keeps any value in any column.
    bool is_integer(int column) const;

   private:
    sqlite3_stmt* statement_;
  };

  /// Opens or creates the file and brings its schema up to date.
  static base::Result<std::unique_ptr<Database>> open(const std::filesystem::path& path);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  /// Runs one statement with its `?` bound in order. Statements are prepared once and kept, so
  /// `sql` is always one of a fixed set, never built from input.
  base::Result<void> run(std::string_view sql, const std::vector<Value>& values = {},
                         const std::function<void(const Row&)>& on_row = {});

  /// Runs `changes` in one transaction; an Error rolls it back.
  base::Result<void> transaction(const std::function<base::Result<void>()>& changes);

 private:
  explicit Database(sqlite3* handle) : handle_(handle) {}
  base::Result<void> migrate();
  base::Result<sqlite3_stmt*> prepared(std::string_view sql);
  base::Error error(std::string_view what) const;

  sqlite3* handle_;
  std::map<std::string, sqlite3_stmt*, std::less<>> statements_;
};

}  // namespace engine
