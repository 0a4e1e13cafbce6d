"""A quick start with a front door that verifies signatures, and clients that speak to it.

One process serves all modules of a run; it ends with the run. Nothing is read from the settings of whoever runs it.
"""

import atexit
import functools
import os
import pathlib
import subprocess
import tempfile
import threading
import time
import unittest
import uuid

import boto3
import botocore.config

import shapes

# Seconds in which a process of a debug build says where it listens, and an execution comes to its end.
READY_WITHIN = 60
ENDED_WITHIN = 30

# How a quick start ends that was told to: 143 where its own run was not over yet.
ENDED_WELL = (0, 143)

# Any region does: the ARNs say where a machine is.
REGION = "eu-central-1"
ROLE = "arn:aws:iam::000000000000:role/tests"
# A machine that nobody makes.
NOBODY = "arn:aws:states:local:000000000000:stateMachine:nobody"

# (id, secret)
ADMIN = ("AKIDADMIN", "the-secret-of-the-admin")
READER = ("AKIDREADER", "the-secret-of-the-reader")
STARTER = ("AKIDSTARTER", "the-secret-of-the-starter")

# Access keys as an operator writes them.
KEYS = f"""
[[key]]
id = "{ADMIN[0]}"
secret = "{ADMIN[1]}"
account = "000000000000"
[[key.grant]]
rights = ["read", "start", "manage"]

[[key]]
id = "{READER[0]}"
secret = "{READER[1]}"
account = "000000000000"
[[key.grant]]
rights = ["read"]

[[key]]
id = "{STARTER[0]}"
secret = "{STARTER[1]}"
account = "000000000000"
[[key.grant]]
rights = ["read", "start"]
machines = ["mine-*"]
"""

# Where nobody has settings.
NOWHERE = "/nonexistent"


def environment(**more):
    """Of a client's process: no settings, no proxies, no keys but those given."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(("AWS_", "TENCENTCLOUD_"))}
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        kept.pop(name, None)
    kept.update(AWS_CONFIG_FILE=NOWHERE, AWS_SHARED_CREDENTIALS_FILE=NOWHERE, AWS_EC2_METADATA_DISABLED="true", **more)
    return kept


class Server:
    """A quick start that stays up."""

    def __init__(self, *flags):
        program = os.environ.get("SCHEDULER_STUB", "target/debug/scheduler-stub")
        command = [program, "quickstart", "--serve", "--memory", "--executions", "1", "--listen", "127.0.0.1:0", *flags]
        self.lines = []
        self._said = threading.Condition()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        atexit.register(self.stop)

    def _read(self):
        for line in self.process.stdout:
            with self._said:
                self.lines.append(line.rstrip("\n"))
                self._said.notify_all()
        with self._said:
            self.lines.append(None)
            self._said.notify_all()

    def line_with(self, text):
        """The first line that has this text; waits for it, and no longer than the process runs."""

        def found():
            return [line for line in self.lines if line is not None and text in line]

        with self._said:
            self._said.wait_for(lambda: found() or None in self.lines, timeout=READY_WITHIN)
            if not found():
                raise RuntimeError("\n".join([f"the quick start did not say {text!r}:", *filter(None, self.lines)]))
            return found()[0]

    def stop(self):
        """Ends it as a service manager does. It must end well."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=READY_WITHIN)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()


@functools.cache
def keys_file():
    """Where the access keys are, for this run."""
    folder = tempfile.TemporaryDirectory(prefix="myriad-clients-")
    atexit.register(folder.cleanup)
    path = pathlib.Path(folder.name, "access-keys")
    path.write_text(KEYS)
    path.chmod(0o600)
    return path


@functools.cache
def server():
    """The server of this run."""
    return Server("--http-listen", "127.0.0.1:0", "--access-keys", str(keys_file()))


@functools.cache
def url():
    """Where its front door is."""
    return server().line_with("front door").split()[-1]


def sfn(key=ADMIN, validate=True, **more):
    """A boto3 client as people have it: default retries, its own validation and models. Its answers are checked."""
    os.environ.update(AWS_CONFIG_FILE=NOWHERE, AWS_SHARED_CREDENTIALS_FILE=NOWHERE)
    # On loopback `sync-` before the host names none.
    config = botocore.config.Config(inject_host_prefix=False, parameter_validation=validate, proxies={}, **more)
    session = boto3.session.Session(aws_access_key_id=key[0], aws_secret_access_key=key[1], region_name=REGION)
    return shapes.watch(session.client("stepfunctions", endpoint_url=url(), config=config))


def unique(name):
    """A name that no other test has."""
    return f"{name}-{uuid.uuid4().hex[:8]}"


def until(look, what):
    """Asks again and again until there is an answer, and gives it."""
    begun = time.monotonic()
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() - begun > ENDED_WITHIN:
            raise AssertionError(f"not within {ENDED_WITHIN} s: {what}")
        time.sleep(0.05)


class Case(unittest.TestCase):
    """A test at whose end no answer may have differed from the model."""

    longMessage = True

    def tearDown(self):
        self.assertEqual(shapes.take_faults(), [], "answers differ from the model")
        super().tearDown()
