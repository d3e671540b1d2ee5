// Database, Statement, Transaction: a thin C++ interface to SQLite.
//
// Threads: one at a time; the owner locks. Errors: kResourceExhausted for a full disk, kDataLoss
// for a damaged file, kInternal otherwise.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "vmm/base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace images {

class Statement {
 public:
  Statement(sqlite3* database, sqlite3_stmt* statement)
      : database_(database), statement_(statement) {}

  /// Binds the values to ?1, ?2, ... in order.
  template <typename... Values>
  Statement&& with(const Values&... values) && {
    int index = 0;
    (bind(++index, values), ...);
    return std::move(*this);
  }

  /// True: a row is there, see the columns. False: no (more) rows.
  base::Result<bool> step();
  /// Steps to the end.
  base::Result<void> run();

  /// Columns of the current row, from 0. Valid until the next step.
  std::string text(int column) const;
  std::int64_t integer(int column) const;
  std::uint64_t size(int column) const { return static_cast<std::uint64_t>(integer(column)); }

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };

  void bind(int index, std::string_view text);
  void bind(int index, std::int64_t value);
  void bind(int index, std::uint64_t value) { bind(index, static_cast<std::int64_t>(value)); }

  sqlite3* database_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

class Database {
 public:
  /// Opens or creates the file in WAL mode, with foreign keys and full synchronisation.
  static base::Result<Database> open(const std::string& path);

  /// For statements without parameters or results; several may be joined by ";".
  base::Result<void> execute(const std::string& sql);
  base::Result<Statement> prepare(std::string_view sql);
  /// prepare, bind, run.
  template <typename... Values>
  base::Result<void> run(std::string_view sql, const Values&... values) {
    auto statement = prepare(sql);
    if (!statement) return std::move(statement).error();
    return std::move(*statement).with(values...).run();
  }

 private:
  struct Close {
    void operator()(sqlite3* database) const;
  };
  explicit Database(sqlite3* database) : database_(database) {}

  std::unique_ptr<sqlite3, Close> database_;
};

/// Rolls back when it goes out of scope without commit().
class Transaction {
 public:
  static base::Result<Transaction> begin(Database& database);
  Transaction(Transaction&& other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  base::Result<void> commit();

 private:
  explicit Transaction(Database& database) : database_(&database) {}
  Database* database_;
};

}  // namespace images
