"""Asks Testcontainers for Python for services, as a test of somebody's would.

usage: application.py NAME...   redis, postgres; belongings: Redis with a network, a volume and an image of this session
Says in one line of JSON what it stored in them and read back. Ends, and all with it, when its standard input does.
"""

import contextlib
import io
import json
import os
import sys

import docker
import psycopg
from testcontainers.community.postgres import PostgresContainer
from testcontainers.community.redis import RedisContainer
from testcontainers.core.labels import LABEL_SESSION_ID, SESSION_ID
from testcontainers.core.network import Network

OWN = {LABEL_SESSION_ID: SESSION_ID}


def through_redis(redis):
    redis.get_client().set("greeting", "kept in Redis")
    return redis.get_client().get("greeting").decode()


def through_postgres(url):
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE greetings (words text)")
        connection.execute("INSERT INTO greetings VALUES (%s)", ["kept in PostgreSQL"])
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT words FROM greetings").fetchone()[0]


def belongings(leave):
    """A Redis that uses what the session has."""
    client = docker.from_env()
    leave.callback(client.close)
    image, _ = client.images.build(fileobj=io.BytesIO(b"FROM redis:7\nLABEL made=here\n"), labels=OWN, tag=f"belonging:{SESSION_ID}")
    leave.callback(client.images.remove, image.id, force=True)
    volume = client.volumes.create(f"belonging-{SESSION_ID}", labels=OWN)
    leave.callback(volume.remove)
    network = leave.enter_context(Network())
    return RedisContainer(image.tags[0]).with_network(network).with_volume_mapping(volume.name, "/kept", "rw")


def main():
    said = {"session": SESSION_ID, "pid": os.getpid()}
    with contextlib.ExitStack() as leave:
        if "redis" in sys.argv:
            said["redis"] = through_redis(leave.enter_context(RedisContainer("redis:7")))
        if "belongings" in sys.argv:
            said["belongings"] = through_redis(leave.enter_context(belongings(leave)))
        if "postgres" in sys.argv:
            # In memory: making a database on a disk takes long where the host is emulated.
            postgres = PostgresContainer("postgres:15", driver=None).with_tmpfs_mount("/scratch")
            postgres.with_env("PGDATA", "/scratch/data").with_env("POSTGRES_INITDB_ARGS", "--no-sync")
            said["postgres"] = through_postgres(leave.enter_context(postgres).get_connection_url())
        print(json.dumps(said), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
