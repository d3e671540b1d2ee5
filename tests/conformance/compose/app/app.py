"""Counts visits in Redis and in PostgreSQL, over their protocols: the image has no library for either."""

import http.server
import socket
import struct
import time


def ask_redis(*words):
    with socket.create_connection(("cache", 6379), timeout=30) as connection, connection.makefile("rwb") as stream:
        stream.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        stream.flush()
        return stream.readline().strip().lstrip(b":")  # an integer


def ask_postgres(query):
    """The first field of the last row."""
    with socket.create_connection(("db", 5432), timeout=30) as connection, connection.makefile("rwb") as stream:
        start = struct.pack("!i", 196608) + b"user\0postgres\0database\0postgres\0\0"
        stream.write(struct.pack("!i", len(start) + 4) + start)
        text = query.encode() + b"\0"
        stream.write(b"Q" + struct.pack("!i", len(text) + 4) + text)
        stream.flush()
        value, ready = None, 0
        while ready < 2:  # after the start, and after the query
            kind, size = stream.read(1), struct.unpack("!i", stream.read(4))[0]
            body = stream.read(size - 4)
            if kind == b"E":
                raise RuntimeError(body)
            if kind == b"D":
                value = body[6:6 + struct.unpack("!i", body[2:6])[0]]
            ready += kind == b"Z"
        return value


class Visits(http.server.BaseHTTPRequestHandler):
    def do_GET(self):  # pylint: disable=invalid-name
        cached = ask_redis(b"INCR", b"visits").decode()
        kept = ask_postgres("INSERT INTO visits DEFAULT VALUES; SELECT count(*) FROM visits").decode()
        answer = f"{cached} {kept} {self.headers.get('X-Who', '')}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


def wait_for_postgres():
    """A restart of all services is no order of them: the database may come back later."""
    for _ in range(240):
        try:
            return ask_postgres("CREATE TABLE IF NOT EXISTS visits (at timestamptz DEFAULT now())")
        except (OSError, RuntimeError, struct.error) as error:
            print(error)
            time.sleep(0.5)
    raise SystemExit("there is no database")


wait_for_postgres()
http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Visits).serve_forever()
