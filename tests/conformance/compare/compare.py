#!/usr/bin/python3
"""Does the same to two Docker endpoints and compares what they answer.

    compare.py --ours SOCKET --dockerd SOCKET [--known FILE] [--only WORD] [--json FILE] [--record]

A behaviour is the same, or different and known (FILE gives the reason: names as regular expressions; "dockerd" limits it to
versions of dockerd that begin so), or different. The requests are in the newest API version that both speak. The exit status is 1 if one is different and not known, or if all that a name in FILE stands
for have become the same.
"""

import argparse
import json
import os
import re
import sys
import traceback

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from conformance.compare import committed, requests, running, volumes  # noqa: E402
from conformance.compare.endpoint import Endpoint, comparable  # noqa: E402
from conformance.dockerfiles import behaviours as builds  # noqa: E402
from harness.docker_api import Api, ApiError, describe_daemon  # noqa: E402

BEHAVIOURS = requests.BEHAVIOURS + running.BEHAVIOURS + committed.BEHAVIOURS + volumes.BEHAVIOURS + builds.BEHAVIOURS


BROKEN = "broke: "


def observe(endpoint, look):
    """What is seen there, or how the daemon refused it; a text with BROKEN if it cannot be looked at."""
    try:
        return comparable(look(endpoint))
    except ApiError as error:
        return f"refused: {error.status}: {comparable(error.message)}"
    except Exception as error:  # pylint: disable=broad-except
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{BROKEN}{type(error).__name__}: {comparable(str(error))} ({last.name})"
    finally:
        endpoint.tidy()


def short(*values):
    """Each as a text of at most 400 characters around the first place where they are not the same."""
    texts = [json.dumps(value, sort_keys=True) for value in values]
    begin = max(0, len(os.path.commonprefix(texts)) - 100)
    return [("..." if begin else "") + text[begin:begin + 400] + ("..." if len(text) > begin + 400 else "") for text in texts]


class Known:
    """The differences that have a reason, beside this version of dockerd."""

    def __init__(self, path, version):
        self._seen = {}
        self._sometimes = set()
        with open(path, encoding="utf-8") as file:
            for rule in json.load(file):
                if not version.startswith(rule.get("dockerd", "")):
                    continue
                for pattern in rule["behaviours"]:
                    self._seen[re.compile(pattern)] = set()
                    if rule.get("sometimes"):  # by chance the same
                        self._sometimes.add(pattern)

    def verdict(self, name, same):
        """The verdict on a behaviour; remembers it for outdated()."""
        patterns = [pattern for pattern in self._seen if pattern.fullmatch(name)]
        for pattern in patterns:
            self._seen[pattern].add(same)
        if same:
            return "same"
        return "known" if patterns else "different"

    def outdated(self):
        """Names whose behaviours were compared, and are all the same."""
        return [pattern.pattern for pattern, verdicts in self._seen.items()
                if verdicts == {True} and pattern.pattern not in self._sometimes]


def newest_common_version(*sockets):
    """The newest API version that the daemons at all of the sockets speak."""
    spoken = [Api(socket, version=None).get("/version")["ApiVersion"] for socket in sockets]
    return "v" + min(spoken, key=lambda version: [int(part) for part in version.split(".")])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ours", required=True)
    parser.add_argument("--dockerd", required=True)
    parser.add_argument("--known", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "differences.json"))
    parser.add_argument("--only", default="", help="behaviours whose names have this in them")
    parser.add_argument("--without", help="behaviours whose names do not have this in them")
    parser.add_argument("--json")
    parser.add_argument("--record", action="store_true", help="only writes to --json what dockerd makes of some Dockerfiles")
    arguments = parser.parse_args()
    api = newest_common_version(arguments.ours, arguments.dockerd)
    ours, theirs = Endpoint("containervm", arguments.ours, api), Endpoint("dockerd", arguments.dockerd, api)
    print(f"reference: {describe_daemon(theirs.api)}; API {api}", flush=True)
    known = Known(arguments.known, theirs.get("/version")["Version"])
    if arguments.record:
        builds.record(theirs, arguments.json)
        return 0
    counts = {"same": 0, "known": 0, "different": 0}
    rows = []
    try:
        for name, look in BEHAVIOURS:
            if arguments.only not in name or (arguments.without and arguments.without in name):
                continue
            here, there = observe(ours, look), observe(theirs, look)
            # A look that fails has compared nothing, whatever is known of this behaviour.
            broken = any(isinstance(seen, str) and seen.startswith(BROKEN) for seen in (here, there))
            verdict = "different" if broken else known.verdict(name, here == there)
            counts[verdict] += 1
            if verdict != "same":
                rows.append({"name": name, "verdict": verdict, "ours": here, "dockerd": there})
            if verdict == "different":
                print("{}: {}\n  ours:    {}\n  dockerd: {}".format(verdict, name, *short(here, there)), flush=True)
    finally:
        ours.close()
        theirs.close()
    for name in known.outdated():
        print(f"no longer different: {name}")
    print(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1, sort_keys=True)
    return 1 if counts["different"] or known.outdated() else 0


if __name__ == "__main__":
    sys.exit(main())
