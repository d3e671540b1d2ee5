// What the files of the image endpoints share.
#pragma once

#include "api/docker/api.h"

namespace docker {

/// images/load, images/create, images/get: long bodies in one direction or the other.
void add_image_stream_routes(http::Router& router, Api& api);

/// The pull of POST /images/create.
net::awaitable<void> pull_image(Api& api, http::Exchange& exchange);

/// images/{name}/push
void add_push_route(http::Router& router, Api& api);

}  // namespace docker
