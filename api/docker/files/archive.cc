// containers/{id}/archive and export: a container's files as tar archives.
#include <openssl/evp.h>
#include <sys/stat.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "api/docker/api.h"
#include "api/engine/state/timestamp.h"
#include "images/store/streams/byte_source.h"

namespace docker {

using base::Code;
using base::Error;
using base::Result;
using engine::FilePlace;
using engine::FileStatus;
using http::Exchange;
using http::Request;
using http::Response;
using http::Status;
using nlohmann::json;

namespace {

Result<FilePlace> place_of(const Api& api, const Request& request) {
  auto container = api.containers.find(request.path_arg("id"));
  if (!container) return std::move(container).error();
  std::string path = request.query.get_or("path", "");
  if (path.empty())
    return Error{Code::kInvalidArgument, "missing parameter: the path in the container"};
  return FilePlace::make(*std::move(container), std::move(path), request.path_arg("id"));
}

/// st_mode as Go's FileMode has it, which is what clients read.
std::uint32_t go_mode(std::uint32_t mode) {
  std::uint32_t result = mode & 0777u;
  const auto set = [&](int bit) { result |= std::uint32_t{1} << bit; };
  if (S_ISDIR(mode)) set(31);
  if (S_ISLNK(mode)) set(27);
  if (S_ISBLK(mode) || S_ISCHR(mode)) set(26);
  if (S_ISFIFO(mode)) set(25);
  if (S_ISSOCK(mode)) set(24);
  if ((mode & S_ISUID) != 0) set(23);
  if ((mode & S_ISGID) != 0) set(22);
  if (S_ISCHR(mode)) set(21);
  if ((mode & S_ISVTX) != 0) set(20);
  return result;
}

std::string base64(const std::string& text) {
  std::string out(4 * ((text.size() + 2) / 3) + 1, '\0');
  const int size = ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                     reinterpret_cast<const unsigned char*>(text.data()),
                                     static_cast<int>(text.size()));
  out.resize(static_cast<std::size_t>(size));
  return out;
}

std::string stat_header(const FileStatus& status) {
  const json value{{"name", status.name},
                   {"size", status.size},
                   {"mode", go_mode(status.mode)},
                   {"mtime", engine::format_time(status.modified_ns)},
                   {"linkTarget", status.link_target}};
  return base64(http::dump_json(value));
}

// HEAD /containers/{id}/archive?path=
//   200 with X-Docker-Container-Path-Stat · 400 no path · 404 no such container or file
net::awaitable<Response> stat_path(Api& api, Request request) {
  const auto place = place_of(api, request);
  if (!place) co_return http::error_response(place.error());
  const auto status = co_await api.use_cases.archives.stat(*place);
  if (!status) co_return http::error_response(status.error());
  Response response = http::empty(Status::kOk);
  response.headers.add("X-Docker-Container-Path-Stat", stat_header(*status));
  co_return response;
}

/// Sends the archive to its end; what fails then can only end the answer early.
net::awaitable<void> send_archive(Exchange& exchange, engine::ArchiveReader& archive) {
  for (;;) {
    const auto bytes = co_await archive.next();
    if (bytes && bytes->empty()) co_return;
    Result<void> sent;
    if (bytes) sent = co_await exchange.write(std::span<const std::byte>(*bytes));
    if (bytes && sent) continue;
    exchange.break_off();
    co_return;
  }
}

// GET /containers/{id}/archive?path=
//   200 the tar archive, with X-Docker-Container-Path-Stat · 400 · 404
net::awaitable<void> get_archive(Api& api, Exchange& exchange) {
  const auto place = place_of(api, exchange.request());
  if (!place) {
    co_await exchange.respond(http::error_response(place.error()));
    co_return;
  }
  exchange.end_with_input();
  const auto found = co_await api.use_cases.archives.read(*place);
  if (!found) {
    co_await exchange.respond(http::error_response(found.error()));
    co_return;
  }
  Response head{.content_type = "application/x-tar"};
  head.headers.add("X-Docker-Container-Path-Stat", stat_header(found->status));
  const auto begun = co_await exchange.begin_stream(std::move(head));
  if (!begun) co_return;
  co_await send_archive(exchange, *found->archive);
}

// GET /containers/{id}/export
//   200 the tar archive of all files · 404 no such container
net::awaitable<void> export_container(Api& api, Exchange& exchange) {
  const auto container = api.containers.find(exchange.request().path_arg("id"));
  if (!container) {
    co_await exchange.respond(http::error_response(container.error()));
    co_return;
  }
  exchange.end_with_input();
  const auto archive = api.use_cases.archives.read_all(*container);
  Response head{.content_type = "application/octet-stream"};
  const auto begun = co_await exchange.begin_stream(std::move(head));
  if (!begun) co_return;
  co_await send_archive(exchange, *archive);
}

// --- PUT ------------------------------------------------------------------------------------

/// What a client has sent whole; it keeps its place in the spool for as long as it is read.
class SpoolSource final : public images::ByteSource {
 public:
  explicit SpoolSource(http::SpoolFilePtr file)
      : file_(std::move(file)), bytes_(file_->fd(), 0, file_->size()) {}
  Result<std::size_t> read(std::span<std::byte> out) override { return bytes_.read(out); }

 private:
  const http::SpoolFilePtr file_;
  images::RangeSource bytes_;
};

// PUT /containers/{id}/archive?path=
//   200 extracted · 400 no directory, or what must not be overwritten · 403 read-only · 404
net::awaitable<void> put_archive(Api& api, Exchange& exchange) {
  const Request& request = exchange.request();
  const auto place = place_of(api, request);
  Result<void> possible = place ? api.use_cases.archives.check_writable(*place->container)
                                : Result<void>(place.error());
  if (!possible) {
    co_await exchange.respond(http::error_response(possible.error()));
    co_return;
  }
  // No machine and no thread is kept waiting for the client.
  const auto tar = co_await api.spool.receive(exchange, kMaxUpload);
  if (!tar) {
    Response refusal = http::body_error_response(tar.error());
    co_await exchange.respond(std::move(refusal));
    co_return;
  }
  exchange.end_with_input();
  engine::WriteFiles files{.into = *place,
                           .keeps_kind = request.query.get_bool("noOverwriteDirNonDir"),
                           .to_user = request.query.get_bool("copyUIDGID")};
  std::shared_ptr<images::ByteSource> source = std::make_shared<SpoolSource>(*tar);
  const auto written = co_await api.use_cases.archives.write(std::move(files), std::move(source));
  if (!written) {
    co_await exchange.respond(http::error_response(written.error()));
    co_return;
  }
  co_await exchange.respond(http::empty(Status::kOk));
}

}  // namespace

void add_archive_routes(http::Router& router, Api& api) {
  router.add("HEAD", "/containers/{id}/archive", std::bind_front(stat_path, std::ref(api)));
  router.add_stream("GET", "/containers/{id}/archive", std::bind_front(get_archive, std::ref(api)));
  router.add_stream("PUT", "/containers/{id}/archive", std::bind_front(put_archive, std::ref(api)));
  router.add_stream("GET", "/containers/{id}/export",
                    std::bind_front(export_container, std::ref(api)));
}

}  // namespace docker
