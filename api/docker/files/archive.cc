// containers/{id}/archive and export: a container's files as tar archives.
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <functional>
#include <nlohmann/json.hpp>

#include "api/docker/api.h"
#include "api/docker/files/byte_bridge.h"
#include "api/docker/files/tar_stream.h"
#include "api/docker/files/tar_writer.h"
#include "api/docker/files/tool_frames.h"
#include "api/engine/containers/container_files.h"
#include "api/engine/state/timestamp.h"

namespace docker {

using async::BytePipe;
using base::Code;
using base::Error;
using base::Result;
using engine::ContainerPtr;
using http::Exchange;
using http::Request;
using http::Response;
using http::Status;
using nlohmann::json;
using namespace net::experimental::awaitable_operators;  // NOLINT: operator&& only

namespace files = protocol::files;

namespace {

constexpr std::size_t kLongestPath = 4096;  // PATH_MAX

/// Closes a pipe when its reader or writer is abandoned.
struct ClosePipe {
  std::shared_ptr<BytePipe> pipe;
  ~ClosePipe() { pipe->close(); }
};

/// What a path of a container was asked for as.
struct Place {
  ContainerPtr container;
  std::string path;  // absolute, as the client wrote it otherwise

  Error missing() const {
    return Error{Code::kNotFound,
                 "Could not find the file " + path + " in container " + container->name};
  }
};

Result<Place> place_of(const Api& api, const Request& request) {
  auto container = api.containers.find(request.path_arg("id"));
  if (!container) return std::move(container).error();
  std::string path = request.query.get_or("path", "");
  if (path.empty())
    return Error{Code::kInvalidArgument, "missing parameter: the path in the container"};
  if (path.find('\0') != std::string::npos || path.size() > kLongestPath)
    return Error{Code::kInvalidArgument, "the path is not a usable one"};
  if (path.front() != '/') path.insert(0, "/");
  return Place{.container = *std::move(container), .path = std::move(path)};
}

Error error_of(const Place& place, const wire::RawFrame& frame) {
  const auto failed = wire::decode<files::Failed>(frame.payload);
  if (static_cast<files::FrameType>(frame.type) == files::FrameType::kFailed && failed) {
    if (failed->kind == files::FailureKind::kNotFound) return place.missing();
    if (failed->kind == files::FailureKind::kNotADirectory)
      return Error{Code::kInvalidArgument, "extraction point is not a directory"};
  }
  return tool_error(frame);
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

std::string base_name(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path == "/" ? path : path.substr(path.rfind('/') + 1);
}

Result<std::string> stat_header(const Place& place, const wire::RawFrame& frame) {
  if (static_cast<files::FrameType>(frame.type) != files::FrameType::kStat)
    return error_of(place, frame);
  const auto status = wire::decode<files::Stat>(frame.payload);
  if (!status) return status.error();
  // It becomes a header: a guest that is not ours any more may send megabytes.
  if (status->link_target.size() > kLongestPath)
    return Error{Code::kDataLoss, "the guest names a link's target that is longer than a path"};
  const json value{{"name", base_name(place.path)},
                   {"size", status->size},
                   {"mode", go_mode(status->mode)},
                   {"mtime", engine::format_time(status->modified_ns)},
                   {"linkTarget", status->link_target}};
  return base64(http::dump_json(value));
}

// HEAD /containers/{id}/archive?path=
//   200 with X-Docker-Container-Path-Stat · 400 no path · 404 no such container or file
net::awaitable<Response> stat_path(Api& api, Request request) {
  const auto place = place_of(api, request);
  if (!place) co_return http::error_response(place.error());
  ToolFrames frames(start_reading(api.containers.files(), place->container, {"stat", place->path}));
  const auto frame = co_await frames.next();
  if (!frame) co_return http::error_response(frame.error());
  auto header = stat_header(*place, *frame);
  if (!header) co_return http::error_response(header.error());
  Response response = http::empty(Status::kOk);
  response.headers.add("X-Docker-Container-Path-Stat", *std::move(header));
  co_return response;
}

/// Sends the archive to its end; what fails then can only end the answer early.
net::awaitable<Result<void>> send_archive(Exchange& exchange, ToolFrames& frames) {
  auto writer = TarWriter::create();
  if (!writer) co_return std::move(writer).error();
  while (!(*writer)->complete()) {
    const auto frame = co_await frames.next();
    if (!frame) co_return frame.error();
    if (static_cast<files::FrameType>(frame->type) == files::FrameType::kFailed)
      co_return Error{Code::kInternal, "the guest could not read on"};
    auto added = (*writer)->add(*frame);
    if (!added) co_return added;
    const std::vector<std::byte> bytes = (*writer)->take();
    const auto written = co_await exchange.write(std::span<const std::byte>(bytes));
    if (!written) co_return written.error();
  }
  co_return Result<void>();
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
  ToolFrames frames(start_reading(api.containers.files(), place->container, {"read", place->path}));
  const auto first = co_await frames.next();
  Result<std::string> header = first ? stat_header(*place, *first) : first.error();
  if (!header) {
    co_await exchange.respond(http::error_response(header.error()));
    co_return;
  }
  Response head{.content_type = "application/x-tar"};
  head.headers.add("X-Docker-Container-Path-Stat", *std::move(header));
  const auto begun = co_await exchange.begin_stream(std::move(head));
  if (!begun) co_return;
  const auto sent = co_await send_archive(exchange, frames);
  if (sent) api.containers.publish(*place->container, "archive-path");
  if (!sent) exchange.break_off();
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
  ToolFrames frames(start_reading(api.containers.files(), *container, {"export"}));
  Response head{.content_type = "application/octet-stream"};
  const auto begun = co_await exchange.begin_stream(std::move(head));
  if (!begun) co_return;
  const auto sent = co_await send_archive(exchange, frames);
  if (sent) api.containers.publish(**container, "export");
  if (!sent) exchange.break_off();
}

// --- PUT ------------------------------------------------------------------------------------

/// Waits for the guest, which takes the frames.
net::awaitable<void> convert(Api& api, http::SpoolFilePtr tar, std::shared_ptr<base::UniqueFd> out,
                             std::shared_ptr<Result<void>> result) {
  const std::function<Result<void>()> call = [tar, out]() -> Result<void> {
    if (::lseek(tar->fd(), 0, SEEK_SET) < 0) return base::errno_error("lseek");
    BridgeSink sink(out->get());
    auto done = tar_to_frames(tar->fd(), sink);
    out->reset();
    return done;
  };
  *result = co_await api.threads.streams.run(call);
}

// PUT /containers/{id}/archive?path=
//   200 extracted · 400 no directory, or what must not be overwritten · 403 read-only · 404
net::awaitable<void> put_archive(Api& api, Exchange& exchange) {
  const Request& request = exchange.request();
  const auto place = place_of(api, request);
  Result<void> possible = place ? Result<void>() : Result<void>(place.error());
  if (possible && place->container->settings.host_config.at("ReadonlyRootfs") == true)
    possible = Error{Code::kPermissionDenied, "container rootfs is marked read-only"};
  const net::any_io_executor executor = co_await net::this_coro::executor;
  auto frames_bridge = ByteBridge::make(executor);
  if (possible && !frames_bridge) possible = frames_bridge.error();
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
  const ClosePipe output{std::make_shared<BytePipe>(executor)};
  const ClosePipe input{std::make_shared<BytePipe>(executor)};
  const bool keep_kind = request.query.get_bool("noOverwriteDirNonDir");
  const bool to_user = request.query.get_bool("copyUIDGID");
  const std::string owner = to_user ? place->container->settings.text("User") : "";
  engine::FilesTask task{.command = {"write", place->path, keep_kind ? "1" : "0", owner},
                         .changes_files = true,
                         .output = output.pipe,
                         .input = input.pipe};
  api.containers.files().start(place->container, std::move(task));

  const auto out = std::make_shared<base::UniqueFd>(std::move(frames_bridge->blocking_side));
  const auto converted = std::make_shared<Result<void>>();
  co_await (convert(api, *tar, out, converted) &&
            pump_frames(std::move(frames_bridge->coroutine_side), input.pipe));
  ToolFrames frames(output.pipe);
  const auto answer = co_await frames.next();
  // The files are safe when the run has ended, not before.
  while (answer) {
    const auto more = co_await output.pipe->take();
    if (!more || !*more) break;
  }
  Result<void> result;
  if (!answer) result = answer.error();
  const bool ended =
      answer && static_cast<files::FrameType>(answer->type) == files::FrameType::kEnd;
  if (answer && !ended) result = error_of(*place, *answer);
  // An archive that is none ends the input too early: it is the cause, not the tool.
  if (!ended && !*converted && converted->error().code == Code::kInvalidArgument)
    result = converted->error();
  if (!result) {
    co_await exchange.respond(http::error_response(result.error()));
    co_return;
  }
  api.containers.publish(*place->container, "extract-to-dir");
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
