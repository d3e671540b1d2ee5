"""Builds as behaviours for compare.py: each case's stream, configuration, history and files."""

import json

from conformance.dockerfiles.cases import CASES
from conformance.dockerfiles.observe import ASPECTS, Observer

# Those that CI builds, too: few, for there each step takes its time.
RECORDED = ("variables", "commands", "a volume", "COPY with owners", "COPY of what is special", "stages")


def _aspects(case):
    return (*ASPECTS, *(("says again",) if case.again else ()))


def _behaviours():
    for case in CASES:
        observer = Observer(case)
        for aspect in _aspects(case):
            yield f"build: {case.name}: {aspect}", observer.aspect(aspect)


BEHAVIOURS = list(_behaviours())


def record(endpoint, path):
    """Writes what an endpoint makes of the recorded ones: a line for each aspect."""
    seen = {}
    for case in CASES:
        if case.name in RECORDED:
            observer = Observer(case)
            seen[case.name] = {aspect: observer.aspect(aspect)(endpoint) for aspect in _aspects(case)}
    parts = []
    for name in sorted(seen):
        lines = [f"  {json.dumps(aspect)}: {json.dumps(value, sort_keys=True)}" for aspect, value in seen[name].items()]
        parts.append(f" {json.dumps(name)}: {{\n" + ",\n".join(lines) + "}")
    with open(path, "w", encoding="utf-8") as file:
        file.write("{\n" + ",\n".join(parts) + "\n}\n")
