#include "images/store/catalog/catalog.h"

namespace images {

namespace {

// One entry per schema version: what leads to it from the one before. Never change one that was
// released; add another.
constexpr std::string_view kMigrations[] = {
    R"sql(
    CREATE TABLE layers (
      tenant TEXT NOT NULL, diff_id TEXT NOT NULL,
      image_bytes INTEGER NOT NULL, content_bytes INTEGER NOT NULL, tar_bytes INTEGER NOT NULL,
      PRIMARY KEY (tenant, diff_id)) WITHOUT ROWID;
    CREATE TABLE images (
      tenant TEXT NOT NULL, id TEXT NOT NULL,
      config TEXT NOT NULL, parent TEXT NOT NULL, last_tagged_ns INTEGER NOT NULL,
      PRIMARY KEY (tenant, id));
    CREATE TABLE image_layers (
      tenant TEXT NOT NULL, image_id TEXT NOT NULL, position INTEGER NOT NULL,
      diff_id TEXT NOT NULL,
      PRIMARY KEY (tenant, image_id, position),
      FOREIGN KEY (tenant, image_id) REFERENCES images (tenant, id) ON DELETE CASCADE,
      FOREIGN KEY (tenant, diff_id) REFERENCES layers (tenant, diff_id)) WITHOUT ROWID;
    CREATE INDEX image_layers_by_layer ON image_layers (tenant, diff_id);
    CREATE TABLE names (
      tenant TEXT NOT NULL, repository TEXT NOT NULL,
      name TEXT NOT NULL,  -- ":tag" or "@digest"
      image_id TEXT NOT NULL,
      PRIMARY KEY (tenant, repository, name),
      FOREIGN KEY (tenant, image_id) REFERENCES images (tenant, id) ON DELETE CASCADE) WITHOUT ROWID;
    CREATE INDEX names_by_image ON names (tenant, image_id);
    CREATE TABLE holders (
      tenant TEXT NOT NULL, holder TEXT NOT NULL,
      image_id TEXT NOT NULL,  -- may be gone: the holder keeps its layers
      PRIMARY KEY (tenant, holder)) WITHOUT ROWID;
    CREATE TABLE holder_layers (
      tenant TEXT NOT NULL, holder TEXT NOT NULL, position INTEGER NOT NULL,
      diff_id TEXT NOT NULL,
      PRIMARY KEY (tenant, holder, position),
      FOREIGN KEY (tenant, holder) REFERENCES holders (tenant, holder) ON DELETE CASCADE,
      FOREIGN KEY (tenant, diff_id) REFERENCES layers (tenant, diff_id)) WITHOUT ROWID;
    CREATE INDEX holder_layers_by_layer ON holder_layers (tenant, diff_id);
    )sql",
    R"sql(
    CREATE TABLE origins (
      tenant TEXT NOT NULL, image_id TEXT NOT NULL,  -- the image may be gone: a holder keeps them
      name TEXT NOT NULL,  -- "transport:reference"
      record TEXT NOT NULL,
      PRIMARY KEY (tenant, image_id, name));
    )sql",
    R"sql(
    CREATE TABLE blobs (  -- in which form registries have a layer
      tenant TEXT NOT NULL, diff_id TEXT NOT NULL,
      repository TEXT NOT NULL, digest TEXT NOT NULL,
      bytes INTEGER NOT NULL, media_type TEXT NOT NULL, seen_ns INTEGER NOT NULL,
      PRIMARY KEY (tenant, diff_id, repository, digest),
      FOREIGN KEY (tenant, diff_id) REFERENCES layers (tenant, diff_id) ON DELETE CASCADE)
      WITHOUT ROWID;
    CREATE INDEX blobs_by_digest ON blobs (tenant, digest);
    )sql",
};
constexpr std::int64_t kSchemaVersion = std::size(kMigrations);

std::string name_of(const Reference& reference) {
  return reference.digest().empty() ? ":" + reference.tag() : "@" + reference.digest();
}

LayerRow layer_row(const Statement& row) {
  return {.diff_id = row.text(0),
          .image_bytes = row.size(1),
          .content_bytes = row.size(2),
          .tar_bytes = row.size(3)};
}

ImageRow image_row(const Statement& row) {
  return {.id = row.text(0),
          .config_json = row.text(1),
          .parent = row.text(2),
          .last_tagged_ns = row.integer(3)};
}

/// The rows of `statement`, each through `convert`.
template <typename Convert>
auto all_rows(base::Result<Statement> statement, Convert convert)
    -> base::Result<std::vector<decltype(convert(*statement))>> {
  if (!statement) return std::move(statement).error();
  std::vector<decltype(convert(*statement))> rows;
  while (true) {
    auto more = statement->step();
    if (!more) return std::move(more).error();
    if (!*more) return rows;
    rows.push_back(convert(*statement));
  }
}

template <typename... Values>
base::Result<Statement> bound(Database& database, std::string_view sql, const Values&... values) {
  auto statement = database.prepare(sql);
  if (!statement) return statement;
  return std::move(*statement).with(values...);
}

/// The first element, if any.
template <typename T>
base::Result<std::optional<T>> first_of(base::Result<std::vector<T>> rows) {
  if (!rows) return std::move(rows).error();
  if (rows->empty()) return std::optional<T>();
  return std::optional<T>(std::move(rows->front()));
}

std::string first_text(const Statement& row) { return row.text(0); }

base::Result<std::vector<Reference>> parse_names(base::Result<std::vector<std::string>> names) {
  if (!names) return std::move(names).error();
  std::vector<Reference> references;
  for (const std::string& name : *names) {
    auto reference = Reference::parse(name);
    if (!reference) return base::annotate(std::move(reference), "image database: " + name);
    references.push_back(*std::move(reference));
  }
  return references;
}

}  // namespace

base::Result<Catalog> Catalog::open(const std::string& path, std::string tenant) {
  auto database = Database::open(path);
  if (!database) return std::move(database).error();
  Catalog catalog(*std::move(database), std::move(tenant));
  RETURN_IF_ERROR(catalog.migrate());
  return catalog;
}

base::Result<void> Catalog::migrate() {
  auto version = first_of(all_rows(database_.prepare("PRAGMA user_version"),
                                   [](const Statement& row) { return row.integer(0); }));
  if (!version) return std::move(version).error();
  const std::int64_t current = version->value_or(0);
  if (current < 0 || current > kSchemaVersion)
    return base::Error{base::Code::kNotSupported,
                       "the image database has schema version " + std::to_string(current) +
                           ", which this program does not know; use a newer one"};
  for (std::int64_t next = current; next < kSchemaVersion; ++next) {
    auto transaction = begin();
    if (!transaction) return std::move(transaction).error();
    RETURN_IF_ERROR(database_.execute(std::string(kMigrations[next])));
    RETURN_IF_ERROR(database_.execute("PRAGMA user_version = " + std::to_string(next + 1)));
    RETURN_IF_ERROR(transaction->commit());
  }
  return {};
}

base::Result<std::optional<LayerRow>> Catalog::find_layer(std::string_view diff_id) {
  return first_of(all_rows(bound(database_,
                                 "SELECT diff_id, image_bytes, content_bytes, tar_bytes"
                                 " FROM layers WHERE tenant = ?1 AND diff_id = ?2",
                                 tenant_, diff_id),
                           layer_row));
}

base::Result<void> Catalog::put_layer(const LayerRow& layer) {
  return database_.run("INSERT INTO layers VALUES (?1, ?2, ?3, ?4, ?5)", tenant_, layer.diff_id,
                       layer.image_bytes, layer.content_bytes, layer.tar_bytes);
}

base::Result<std::set<std::string>> Catalog::layer_ids() {
  auto ids = all_rows(bound(database_, "SELECT diff_id FROM layers WHERE tenant = ?1", tenant_),
                      first_text);
  if (!ids) return std::move(ids).error();
  return std::set<std::string>(ids->begin(), ids->end());
}

base::Result<std::vector<std::string>> Catalog::drop_unused_layers(
    const std::multiset<std::string>& keep) {
  auto unused = all_rows(
      bound(database_,
            "SELECT diff_id FROM layers AS l WHERE tenant = ?1"
            " AND NOT EXISTS (SELECT 1 FROM image_layers WHERE tenant = ?1 AND diff_id = l.diff_id)"
            " AND NOT EXISTS"
            " (SELECT 1 FROM holder_layers WHERE tenant = ?1 AND diff_id = l.diff_id)",
            tenant_),
      first_text);
  if (!unused) return unused;
  RETURN_IF_ERROR(
      database_.run("DELETE FROM origins WHERE tenant = ?1"
                    " AND image_id NOT IN (SELECT id FROM images WHERE tenant = ?1)"
                    " AND image_id NOT IN (SELECT image_id FROM holders WHERE tenant = ?1)",
                    tenant_));
  std::erase_if(*unused, [&](const std::string& id) { return keep.contains(id); });
  for (const std::string& id : *unused)
    RETURN_IF_ERROR(
        database_.run("DELETE FROM layers WHERE tenant = ?1 AND diff_id = ?2", tenant_, id));
  return unused;
}

base::Result<std::optional<ImageRow>> Catalog::find_image(std::string_view id) {
  return first_of(all_rows(bound(database_,
                                 "SELECT id, config, parent, last_tagged_ns FROM images"
                                 " WHERE tenant = ?1 AND id = ?2",
                                 tenant_, id),
                           image_row));
}

base::Result<std::vector<std::string>> Catalog::image_ids_like(std::string_view prefix) {
  return all_rows(bound(database_,
                        "SELECT id FROM images WHERE tenant = ?1"
                        " AND substr(id, 1, length(?2)) = ?2 LIMIT 2",
                        tenant_, prefix),
                  first_text);
}

base::Result<std::vector<ImageRow>> Catalog::images() {
  return all_rows(
      bound(database_, "SELECT id, config, parent, last_tagged_ns FROM images WHERE tenant = ?1",
            tenant_),
      image_row);
}

base::Result<std::vector<std::string>> Catalog::children(std::string_view parent) {
  return all_rows(
      bound(database_, "SELECT id FROM images WHERE tenant = ?1 AND parent = ?2 ORDER BY id",
            tenant_, parent),
      first_text);
}

base::Result<bool> Catalog::has_children(std::string_view id) {
  auto child = first_of(
      all_rows(bound(database_, "SELECT id FROM images WHERE tenant = ?1 AND parent = ?2 LIMIT 1",
                     tenant_, id),
               first_text));
  if (!child) return std::move(child).error();
  return child->has_value();
}

base::Result<void> Catalog::put_image(const ImageRow& image,
                                      const std::vector<std::string>& diff_ids) {
  auto existing = find_image(image.id);
  if (!existing) return std::move(existing).error();
  if (*existing) return {};
  RETURN_IF_ERROR(database_.run("INSERT INTO images VALUES (?1, ?2, ?3, ?4, ?5)", tenant_, image.id,
                                image.config_json, image.parent, image.last_tagged_ns));
  for (std::size_t i = 0; i < diff_ids.size(); ++i)
    RETURN_IF_ERROR(database_.run("INSERT INTO image_layers VALUES (?1, ?2, ?3, ?4)", tenant_,
                                  image.id, static_cast<std::int64_t>(i), diff_ids[i]));
  return {};
}

base::Result<void> Catalog::delete_image(std::string_view id) {
  return database_.run("DELETE FROM images WHERE tenant = ?1 AND id = ?2", tenant_, id);
}

base::Result<std::vector<LayerRow>> Catalog::layers_from(std::string_view table,
                                                         std::string_view key,
                                                         std::string_view value) {
  const std::string sql = "SELECT diff_id, image_bytes, content_bytes, tar_bytes FROM " +
                          std::string(table) +
                          " JOIN layers USING (tenant, diff_id) WHERE tenant = ?1 AND " +
                          std::string(key) + " = ?2 ORDER BY position";
  return all_rows(bound(database_, sql, tenant_, value), layer_row);
}

base::Result<std::vector<LayerRow>> Catalog::layers_of_image(std::string_view id) {
  return layers_from("image_layers", "image_id", id);
}

base::Result<std::optional<std::string>> Catalog::find_reference(const Reference& reference) {
  return first_of(all_rows(bound(database_,
                                 "SELECT image_id FROM names"
                                 " WHERE tenant = ?1 AND repository = ?2 AND name = ?3",
                                 tenant_, reference.repository(), name_of(reference)),
                           first_text));
}

base::Result<void> Catalog::put_reference(const Reference& reference, std::string_view image_id,
                                          std::int64_t now_ns) {
  RETURN_IF_ERROR(database_.run("INSERT OR REPLACE INTO names VALUES (?1, ?2, ?3, ?4)", tenant_,
                                reference.repository(), name_of(reference), image_id));
  return database_.run("UPDATE images SET last_tagged_ns = ?3 WHERE tenant = ?1 AND id = ?2",
                       tenant_, image_id, now_ns);
}

base::Result<void> Catalog::delete_reference(const Reference& reference) {
  return database_.run("DELETE FROM names WHERE tenant = ?1 AND repository = ?2 AND name = ?3",
                       tenant_, reference.repository(), name_of(reference));
}

base::Result<std::vector<Reference>> Catalog::references_of(std::string_view image_id) {
  auto names = all_rows(bound(database_,
                              "SELECT repository || name FROM names"
                              " WHERE tenant = ?1 AND image_id = ?2 ORDER BY 1",
                              tenant_, image_id),
                        first_text);
  return parse_names(std::move(names));
}

base::Result<std::vector<Reference>> Catalog::references_in(std::string_view repository) {
  return parse_names(all_rows(bound(database_,
                                    "SELECT repository || name FROM names"
                                    " WHERE tenant = ?1 AND repository = ?2 ORDER BY 1",
                                    tenant_, repository),
                              first_text));
}

base::Result<std::vector<Catalog::BlobRow>> Catalog::blobs_of(std::string_view diff_id) {
  return all_rows(bound(database_,
                        "SELECT repository, digest, bytes, media_type FROM blobs"
                        " WHERE tenant = ?1 AND diff_id = ?2 ORDER BY seen_ns DESC LIMIT ?3",
                        tenant_, diff_id, kKnownBlobs),
                  [](const Statement& row) {
                    return BlobRow{row.text(0), {row.text(1), row.size(2), row.text(3)}};
                  });
}

base::Result<void> Catalog::put_blob(std::string_view diff_id, std::string_view repository,
                                     const RemoteBlob& blob, std::int64_t now_ns) {
  RETURN_IF_ERROR(database_.run("INSERT OR REPLACE INTO blobs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                                tenant_, diff_id, repository, blob.digest, blob.bytes,
                                blob.media_type, now_ns));
  return database_.run(
      "DELETE FROM blobs WHERE tenant = ?1 AND diff_id = ?2 AND seen_ns < (SELECT seen_ns FROM"
      " blobs WHERE tenant = ?1 AND diff_id = ?2 ORDER BY seen_ns DESC LIMIT 1 OFFSET ?3)",
      tenant_, diff_id, kKnownBlobs - 1);
}

base::Result<std::vector<Catalog::Holder>> Catalog::holders() {
  return all_rows(
      bound(database_, "SELECT holder, image_id FROM holders WHERE tenant = ?1 ORDER BY 1",
            tenant_),
      [](const Statement& row) {
        return Holder{row.text(0), row.text(1)};
      });
}

base::Result<void> Catalog::put_origin(std::string_view image_id, const Origin& origin) {
  return database_.run("INSERT OR REPLACE INTO origins VALUES (?1, ?2, ?3, ?4)", tenant_, image_id,
                       origin.transport + ":" + origin.reference, to_text(origin));
}

base::Result<std::vector<Origin>> Catalog::origins_of(std::string_view image_id) {
  auto records =
      all_rows(bound(database_,
                     "SELECT record FROM origins WHERE tenant = ?1 AND image_id = ?2 ORDER BY name",
                     tenant_, image_id),
               first_text);
  if (!records) return std::move(records).error();
  std::vector<Origin> origins;
  for (const std::string& record : *records) {
    auto origin = origin_from_text(record);
    if (!origin) return std::move(origin).error();
    origins.push_back(*std::move(origin));
  }
  return origins;
}

base::Result<void> Catalog::put_holder(std::string_view holder, std::string_view image_id) {
  RETURN_IF_ERROR(delete_holder(holder));
  RETURN_IF_ERROR(
      database_.run("INSERT INTO holders VALUES (?1, ?2, ?3)", tenant_, holder, image_id));
  return database_.run(
      "INSERT INTO holder_layers SELECT tenant, ?2, position, diff_id FROM image_layers"
      " WHERE tenant = ?1 AND image_id = ?3",
      tenant_, holder, image_id);
}

base::Result<void> Catalog::delete_holder(std::string_view holder) {
  return database_.run("DELETE FROM holders WHERE tenant = ?1 AND holder = ?2", tenant_, holder);
}

base::Result<std::optional<std::vector<LayerRow>>> Catalog::layers_of_holder(
    std::string_view holder) {
  auto found = first_of(
      all_rows(bound(database_, "SELECT holder FROM holders WHERE tenant = ?1 AND holder = ?2",
                     tenant_, holder),
               first_text));
  if (!found) return std::move(found).error();
  if (!*found) return std::optional<std::vector<LayerRow>>();
  auto layers = layers_from("holder_layers", "holder", holder);
  if (!layers) return std::move(layers).error();
  return std::optional<std::vector<LayerRow>>(*std::move(layers));
}

}  // namespace images
