"""The tour of README, each block as it is written, against a quick start as it is written there, too.

A block stands between `<!-- tour: NAME -->` and the end of the fenced text after it. The first line of the fence says what runs it.
"""

import pathlib
import re
import socket
import subprocess
import sys
import tempfile

import door

README = pathlib.Path(__file__).resolve().parents[3] / "README.md"
BLOCK = re.compile(r"<!-- tour: (\w+) -->\n+```(\w+)\n(.*?)```\n", re.DOTALL)
# What a block shows at its end.
SHOWN = {"cli": "ExecutionSucceeded", "boto3": "SUCCEEDED", "tencent": "SUCCEED"}
# Where the tour says that the door is.
PORT = 7380


def run(name, language, text, folder):
    """Runs a block; says what was wrong, if something was."""
    runner = {"sh": ["sh", "-eu"], "python": [sys.executable]}[language]
    path = pathlib.Path(folder, name)
    path.write_text(text)
    done = subprocess.run(
        [*runner, str(path)], env=door.environment(AWS_PAGER=""), capture_output=True, text=True, timeout=120
    )
    if done.returncode != 0 or SHOWN[name] not in done.stdout:
        return f"the block {name!r} of README ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    print(f"tour: {name} ok")
    return None


def main():
    blocks = BLOCK.findall(README.read_text())
    if [name for name, *_ in blocks] != list(SHOWN):
        print(f"README has the blocks {[name for name, *_ in blocks]}, and not {list(SHOWN)}", file=sys.stderr)
        return 1
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            print(f"something listens on 127.0.0.1:{PORT}, where the tour of README is: end it first", file=sys.stderr)
            return 1
    server = door.Server()
    server.line_with(f"front door http://127.0.0.1:{PORT}")
    with tempfile.TemporaryDirectory(prefix="myriad-tour-") as folder:
        wrong = [found for block in blocks if (found := run(*block, folder))]
    ended = server.stop()
    if ended not in door.ENDED_WELL:
        wrong.append(f"the quick start ended with {ended}")
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
