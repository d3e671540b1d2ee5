#include "api/engine/state/database.h"

#include <sqlite3.h>

#include <array>

#include "vmm/base/scope_exit.h"

namespace engine {

using base::Code;
using base::Error;
using base::Result;

namespace {

/// kMigrations[n] brings schema version n to n + 1. Never changed once released; only added to.
constexpr std::array<const char*, 6> kMigrations{
    R"(CREATE TABLE containers (
         id TEXT PRIMARY KEY,
         tenant TEXT NOT NULL DEFAULT 'default',
         name TEXT NOT NULL,
         created_ns INTEGER NOT NULL,
         image_id TEXT NOT NULL,
         settings TEXT NOT NULL,
         state TEXT NOT NULL,
         UNIQUE (tenant, name)
       ) WITHOUT ROWID;
       CREATE TABLE events (
         sequence INTEGER PRIMARY KEY AUTOINCREMENT,
         tenant TEXT NOT NULL DEFAULT 'default',
         time_ns INTEGER NOT NULL,
         event TEXT NOT NULL
       );)",
    R"(CREATE TABLE volumes (
         tenant TEXT NOT NULL DEFAULT 'default',
         name TEXT NOT NULL,
         created_ns INTEGER NOT NULL,
         labels TEXT NOT NULL,
         options TEXT NOT NULL,
         PRIMARY KEY (tenant, name)
       ) WITHOUT ROWID;
       ALTER TABLE containers ADD COLUMN mounts TEXT NOT NULL DEFAULT '[]';)",
    // What the last daemon found wrong with a row.
    R"(ALTER TABLE containers ADD COLUMN damage TEXT NOT NULL DEFAULT '';
       ALTER TABLE volumes ADD COLUMN damage TEXT NOT NULL DEFAULT '';)",
    R"(CREATE TABLE networks (
         id TEXT PRIMARY KEY,
         tenant TEXT NOT NULL DEFAULT 'default',
         name TEXT NOT NULL,
         created_ns INTEGER NOT NULL,
         request TEXT NOT NULL,
         subnet TEXT NOT NULL,
         gateway TEXT NOT NULL,
         UNIQUE (tenant, name)
       ) WITHOUT ROWID;)",
    // Volumes that are there are disks.
    R"(ALTER TABLE volumes ADD COLUMN kind TEXT NOT NULL DEFAULT 'disk';)",
    R"(ALTER TABLE networks ADD COLUMN subnet6 TEXT NOT NULL DEFAULT '';
       ALTER TABLE networks ADD COLUMN gateway6 TEXT NOT NULL DEFAULT '';)",
};

}  // namespace

std::string Database::Row::text(int column) const {
  const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  return data == nullptr
             ? std::string()
             : std::string(data,
                           static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)));
}

std::int64_t Database::Row::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

bool Database::Row::is_integer(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_INTEGER;
}

Database::~Database() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close(handle_);
}

Error Database::error(std::string_view what) const {
  Code code = Code::kInternal;
  switch (sqlite3_errcode(handle_)) {
    case SQLITE_FULL:
      code = Code::kResourceExhausted;
      break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      code = Code::kDataLoss;
      break;
    case SQLITE_CONSTRAINT:
      code = Code::kAlreadyExists;
      break;
    default:
      break;
  }
  return Error{code, "database: " + std::string(what) + ": " + sqlite3_errmsg(handle_)};
}

Result<std::unique_ptr<Database>> Database::open(const std::filesystem::path& path) {
  sqlite3* handle = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
  std::unique_ptr<Database> database(new Database(handle));
  if (code != SQLITE_OK) return database->error("open " + path.string());
  for (const char* pragma : {"PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL"}) {
    if (sqlite3_exec(handle, pragma, nullptr, nullptr, nullptr) != SQLITE_OK)
      return database->error(pragma);
  }
  RETURN_IF_ERROR(database->migrate());
  return database;
}

Result<void> Database::migrate() {
  std::int64_t version = 0;
  RETURN_IF_ERROR(
      run("PRAGMA user_version", {}, [&](const Row& row) { version = row.integer(0); }));
  if (version < 0 || version > static_cast<std::int64_t>(kMigrations.size()))
    return Error{Code::kDataLoss, "the database has schema version " + std::to_string(version) +
                                      ", which this program does not know; use a newer one"};
  for (auto next = static_cast<std::size_t>(version); next < kMigrations.size(); ++next) {
    const std::string script = std::string("BEGIN IMMEDIATE;") + kMigrations[next] +
                               "PRAGMA user_version=" + std::to_string(next + 1) + ";COMMIT;";
    if (sqlite3_exec(handle_, script.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK)
      return error("migration " + std::to_string(next));
  }
  return {};
}

Result<sqlite3_stmt*> Database::prepared(std::string_view sql) {
  if (const auto found = statements_.find(sql); found != statements_.end()) return found->second;
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v3(handle_, sql.data(), static_cast<int>(sql.size()),
                         SQLITE_PREPARE_PERSISTENT, &statement, nullptr) != SQLITE_OK)
    return error("prepare");
  statements_.emplace(sql, statement);
  return statement;
}

Result<void> Database::run(std::string_view sql, const std::vector<Value>& values,
                           const std::function<void(const Row&)>& on_row) {
  auto statement = prepared(sql);
  if (!statement) return std::move(statement).error();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const int at = static_cast<int>(i) + 1;
    if (const auto* number = std::get_if<std::int64_t>(&values[i])) {
      sqlite3_bind_int64(*statement, at, *number);
    } else {
      const auto& text = std::get<std::string>(values[i]);
      sqlite3_bind_text64(*statement, at, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8);
    }
  }
  const base::ScopeExit done([&] {
    sqlite3_reset(*statement);
    sqlite3_clear_bindings(*statement);
  });
  int code = SQLITE_ROW;
  while ((code = sqlite3_step(*statement)) == SQLITE_ROW)
    if (on_row) on_row(Row(*statement));
  if (code != SQLITE_DONE) return error(sql.substr(0, sql.find(' ')));
  return {};
}

Result<void> Database::transaction(const std::function<Result<void>()>& changes) {
  RETURN_IF_ERROR(run("BEGIN IMMEDIATE"));
  Result<void> result = changes();
  if (result) result = run("COMMIT");
  if (!result) [[maybe_unused]]
    const auto rolled_back = run("ROLLBACK");
  return result;
}

}  // namespace engine
