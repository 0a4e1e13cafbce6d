"""All modules of tests against one server; then what the run has covered is held to covered.txt.

`covered.txt` says for each operation what clients have made it answer: `ok`, and the names of errors. The page of the front doors is
made with it, so that it can claim no more than was tried.
"""

import os
import pathlib
import sys
import unittest

import door
import shapes

MODULES = ["test_sfn", "test_misuse", "test_asw", "test_cli"]
FILE = pathlib.Path(__file__).with_name("covered.txt")


# What clients send again by themselves comes and goes with the load of the machine.
PASSING = {"ServiceUnavailableException", "ThrottlingException"}


def covered():
    """One line for each operation, sorted; `ok` first."""
    lines = []
    for name, outcomes in sorted(shapes.COVERED.items()):
        outcomes = sorted(outcomes - PASSING, key=lambda outcome: (outcome != "ok", outcome))
        lines.append(f"{name}: {' '.join(outcomes)}\n")
    return "".join(lines)


def main():
    suite = unittest.defaultTestLoader.loadTestsFromNames(MODULES)
    done = unittest.TextTestRunner(verbosity=2).run(suite)
    ended = door.server().stop()
    if not done.wasSuccessful():
        return 1
    if ended not in door.ENDED_WELL:
        print(f"the quick start ended with {ended}", file=sys.stderr)
        return 1
    if os.environ.get("UPDATE_COVERED"):
        FILE.write_text(covered())
    if not FILE.exists() or FILE.read_text() != covered():
        print(f"{FILE.name} is not what was covered: run with UPDATE_COVERED=1, and look at the difference", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
