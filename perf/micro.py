#!/usr/bin/env python3
"""Prints one line for micro.jsonl: the figures of the last `cargo bench` (`core` of bench, `hit` of token-cache), or
instruction counts.

    perf/micro.py                      what criterion left in target/criterion
    perf/micro.py --instructions       runs target/release/examples/instructions under callgrind
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# How often each profile runs: enough for the figure not to hang on the first execution.
COUNTS = {"pass": 10_000, "five-state": 10_000, "map-100": 200}


def machine():
    """As in baseline.jsonl."""
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    models = re.findall(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "commit": commit.stdout.strip(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
        "cpus": os.cpu_count(),
        "cpu_model": models[0] if models else "",
    }


def times():
    """Means in nanoseconds by name."""
    home = Path(os.environ.get("CRITERION_HOME", ROOT / "target/criterion"))
    figures = {}
    for estimates in sorted(home.glob("**/new/estimates.json")):
        name = json.loads((estimates.parent / "benchmark.json").read_text())["full_id"]
        figures[name] = round(json.loads(estimates.read_text())["mean"]["point_estimate"], 1)
    if not figures:
        sys.exit(f"{home} has no figures: run `cargo bench -p bench --bench core` first")
    measured = {"kind": "time", "unit": "ns", "allocator": "mimalloc", "figures": figures}
    # What a bench has counted beside its times.
    for counts in sorted(home.glob("*/counts.json")):
        measured.setdefault("counts", {}).update(json.loads(counts.read_text()))
    return measured


def instructions():
    """For each execution, without what it takes to get ready."""

    def run(profile, count):
        command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
        command += [str(ROOT / "target/release/examples/instructions"), profile, str(count)]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        return int(re.search(r"Collected : (\d+)", told)[1])

    figures = {name: round((run(name, count) - run(name, 0)) / count) for name, count in COUNTS.items()}
    return {"kind": "instructions", "unit": "per execution", "allocator": "mimalloc", "figures": figures}


if __name__ == "__main__":
    measured = instructions() if "--instructions" in sys.argv[1:] else times()
    print(json.dumps({**measured, "machine": machine()}, separators=(",", ":")))
