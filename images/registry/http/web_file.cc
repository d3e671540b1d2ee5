#include "images/registry/http/web_file.h"

#include <time.h>

#include <charconv>
#include <vector>

namespace registry {

using base::Code;
using base::Error;
using base::Result;

namespace {

constexpr int kMaxRedirects = 10;
constexpr std::size_t kMaxErrorBytes = 4u << 10;

/// The last part of a path; nothing of one that ends with a slash or is no name.
std::string last_part(std::string_view path) {
  const std::string name(path.substr(path.rfind('/') + 1));
  return name == "." || name == ".." ? std::string() : name;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

std::string percent_decoded(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
    if (low < 0) {
      plain += text[i];
      continue;
    }
    plain += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return plain;
}

/// The value of `filename` in a Content-Disposition field.
std::string disposition_name(std::string_view field) {
  constexpr std::string_view kName = "filename=";
  std::size_t at = field.find(kName);
  while (at != std::string_view::npos && at > 0 && field[at - 1] != ' ' && field[at - 1] != ';')
    at = field.find(kName, at + 1);
  if (at == std::string_view::npos || at == 0) return {};
  field.remove_prefix(at + kName.size());
  if (!field.starts_with('"')) return std::string(field.substr(0, field.find_first_of("; ")));
  std::string value;
  for (std::size_t i = 1; i < field.size() && field[i] != '"'; ++i) {
    if (field[i] == '\\' && i + 1 < field.size()) ++i;
    value += field[i];
  }
  return value;
}

/// The answer to the last of the redirects.
Result<HttpResponse> follow(HttpClient& client, HttpRequest& request, const StopSignal& stop) {
  const auto tls = TlsContext::verifying({});
  if (!tls) return tls.error();
  for (int redirects = 0;; ++redirects) {
    auto response = client.send(request, *tls, stop);
    if (!response) return with_request(request, response.error());
    if (!is_redirect(response->status())) return response;
    if (redirects == kMaxRedirects)
      return with_request(request, {Code::kInternal, "stopped after 10 redirects"});
    auto next = request.url.resolve(response->header("Location"));
    if (!next) return with_request(request, {Code::kInternal, next.error().message});
    request.url = *std::move(next);
  }
}

std::string shown(std::string text) {
  std::erase_if(text, [](char c) {
    return (static_cast<unsigned char>(c) < ' ' && c != '\n' && c != '\t') || c == 0x7f;
  });
  text.erase(text.find_last_not_of(" \n\t") + 1);
  return text;
}

Error status_error(const Url& url, HttpResponse& response, const StopSignal& stop) {
  const auto body = response.read_all(kMaxErrorBytes, stop);
  return {response.status() == 404 ? Code::kNotFound : Code::kInternal,
          "failed to GET " + url.text() + " with status " + response.status_text() + ": " +
              (body ? shown(*body) : "error reading body")};
}

}  // namespace

std::string web_file_name(std::string_view target, std::string_view disposition) {
  const std::string path = percent_decoded(target.substr(0, target.find('?')));
  if (std::string name = last_part(path); !name.empty()) return name;
  return last_part(disposition_name(disposition));
}

std::optional<std::int64_t> parse_http_time(std::string_view text) {
  const std::string whole(text);
  for (const char* format :
       {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y"}) {
    tm time{};
    const char* end = ::strptime(whole.c_str(), format, &time);
    if (end != nullptr && *end == '\0') return ::timegm(&time);
  }
  return std::nullopt;
}

Result<WebFile> fetch_file(HttpClient& client, const Url& url, images::ByteSink& into,
                           const WebFileLimits& limits, const WebProgress& progress,
                           const StopSignal& stop) {
  const auto deadline = std::chrono::steady_clock::now() + limits.time;
  HttpRequest request{.method = "GET", .url = url, .headers = {}, .text = {}, .body = {}};
  auto response = follow(client, request, stop);
  if (!response) return std::move(response).error();
  if (response->status() >= 400) return status_error(url, *response, stop);

  WebFile file{.name = web_file_name(url.target, response->header("Content-Disposition"))};
  file.modified = parse_http_time(response->header("Last-Modified")).value_or(0);
  std::uint64_t total = 0;
  const std::string length = response->header("Content-Length");
  std::from_chars(length.data(), length.data() + length.size(), total);
  std::vector<std::byte> buffer(128u << 10);
  for (;;) {
    const auto got = response->read(buffer, stop);
    if (!got) return with_request(request, got.error());
    progress(file.bytes + *got, total);
    if (*got == 0) return file;
    file.bytes += *got;
    if (file.bytes > limits.bytes)
      return with_request(request, {Code::kResourceExhausted, "the file is larger than the limit"});
    if (std::chrono::steady_clock::now() > deadline)
      return with_request(request, {Code::kDeadlineExceeded, "the download takes too long"});
    RETURN_IF_ERROR(into.write(std::span(buffer).first(*got)));
  }
}

}  // namespace registry
