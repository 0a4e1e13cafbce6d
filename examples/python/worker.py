#!/usr/bin/env python3
"""A worker with two functions: greet, which answers at once, and await-file, which waits until a file is there.

    examples/python/setup.sh
    PYTHONPATH=target/python/stubs target/python/bin/python examples/python/worker.py --node 127.0.0.1:7400 --pool demo

It shows the whole protocol (docs/workers.md): a stream to each shard, credit, outcomes in batches, heartbeats, cancelled tasks,
outcomes that come back, and streams that are opened again. A task in hand goes on when its stream breaks; its outcome leaves on
the next stream. The first Ctrl-C or SIGTERM lets it finish what it has; a second one ends it at once.

Exit status: 0, 1 when a node refuses it, 2 for wrong usage.
"""

import argparse
import asyncio
import contextvars
import json
import logging
import os
import random
import signal
import sys

import grpc
from executor.v1 import executor_pb2 as v1
from executor.v1 import executor_pb2_grpc as rpc

log = logging.getLogger("worker")

OUTCOMES_MAX = 256  # of one message
BYTES_MAX = 1 << 20  # of outcomes of one message, but for the last; a node takes messages of 4 MiB
HEARTBEAT_S = 5.0
RETURN_AFTER_S = 0.05  # before an outcome that was given back is sent again
PAUSE_FIRST_S, PAUSE_MAX_S = 0.1, 10.0  # between two attempts to open streams
FINAL = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED)


# ---- functions ---------------------------------------------------------------------------------------------------


class Failure(Exception):
    """What Retry and Catch of the state match, and the cause."""

    def __init__(self, error, cause):
        super().__init__(cause)
        self.error, self.cause = error, str(cause)


TRACE = contextvars.ContextVar("trace", default={})  # of the task at hand


def trace_headers():
    """What a function adds to the headers of its requests, so that they belong to the execution's trace."""
    return dict(TRACE.get())


async def greet(task_input):
    return {"greeting": f"Hello, {task_input.get('name', 'world')}!"}


async def await_file(task_input):
    """Bounded by the state: when its time is over the task is cancelled."""
    path = task_input.get("path")
    if not isinstance(path, str):
        raise Failure("BadInput", "`path` is missing")
    while not os.path.exists(path):
        await asyncio.sleep(0.02)
    return {"path": path, "found": True}


# A function that blocks belongs into a thread: `await asyncio.to_thread(render, task_input)`.
FUNCTIONS = {"greet": greet, "await-file": await_file}


async def call(task):
    """Runs one task; gives its outcome."""
    # arn:aws:lambda:eu-west-1:123456789012:function:greet, or the name alone.
    name = task.function.rsplit(":", 1)[-1]
    log.info("begun %s", name)
    said = ("traceparent", task.trace.traceparent), ("tracestate", task.trace.tracestate)
    TRACE.set({header: value for header, value in said if value})
    try:
        if name not in FUNCTIONS:
            raise Failure("UnknownFunction", f"this worker has no {name!r}")
        output = await FUNCTIONS[name](json.loads(task.input))
        outcome = v1.TaskOutcome(token=task.token, output=json.dumps(output).encode())
    except Failure as failure:
        outcome = v1.TaskOutcome(token=task.token, failure=v1.TaskFailure(error=failure.error, cause=failure.cause))
    except Exception as error:  # whatever a function raises is its failure, not the worker's
        log.exception("%s has failed", name)
        outcome = v1.TaskOutcome(token=task.token, failure=v1.TaskFailure(error=type(error).__name__, cause=str(error)))
    log.info("done %s", name)
    return outcome


# ---- the worker --------------------------------------------------------------------------------------------------


class Refused(Exception):
    """A node will not have this worker."""


class Stream:
    """A stream that is open. What it has to say waits in `outbox`: (outcome or None, whether it gives credit back)."""

    def __init__(self):
        self.outbox = asyncio.Queue()  # bounded by the credit


class Worker:
    def __init__(self, options):
        self.options = options
        self.places = asyncio.Semaphore(options.concurrency)
        self.streams = []  # that are open
        self.opened = asyncio.Event()
        self.in_hand = {}  # token -> [asyncio.Task, the stream whose credit it has]
        self.unsaid = 0  # tasks and outcomes that a node has yet to hear of
        self.all_said = asyncio.Event()
        self.all_said.set()
        self.finishing = False
        self.done = asyncio.Event()

    async def run(self, stop):
        """Works until `stop` is set, then finishes what it has."""
        attending = asyncio.gather(*(self.attend(node) for node in self.options.node))
        stopping = asyncio.ensure_future(stop.wait())
        await asyncio.wait([attending, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not attending.done():
            log.info("no new tasks are taken; %d in hand are finished", self.unsaid)
            self.finishing = True
            said = asyncio.ensure_future(self.all_said.wait())
            await asyncio.wait([attending, said], return_when=asyncio.FIRST_COMPLETED)
            self.done.set()
            for stream in self.streams:
                stream.outbox.put_nowait(None)
            # The nodes end the streams when they have read everything; one that hangs is not waited for.
            await asyncio.wait([attending], timeout=5)
        if attending.done():
            attending.result()

    def hold(self, more):
        self.unsaid += more
        (self.all_said.clear if self.unsaid else self.all_said.set)()

    # -- streams to all shards of a node, opened again when they break

    async def attend(self, node):
        serving = {}  # shard -> asyncio.Task
        failures = 0
        clock = asyncio.get_running_loop().time
        while not self.done.is_set():
            begun = clock()
            try:
                await self.open_missing(node, serving)
                await asyncio.wait(serving.values(), return_when=asyncio.FIRST_COMPLETED)
                trouble = "the node has ended a stream, as it does when no function is bound to the pool"
                ended = [serving.pop(shard) for shard, task in [*serving.items()] if task.done()]
                for task in ended:
                    task.result()
            except grpc.aio.AioRpcError as error:
                if error.code() in FINAL:
                    raise Refused(f"the node at {node} refuses this worker: {error.details()}") from None
                trouble = error.details()
            except (ConnectionError, asyncio.InvalidStateError) as error:
                trouble = error
            if self.done.is_set():
                break
            failures = 1 if clock() - begun > PAUSE_MAX_S else failures + 1
            pause = min(PAUSE_MAX_S, PAUSE_FIRST_S * 2 ** min(failures - 1, 10)) * random.uniform(0.5, 1)
            log.warning("%s: %s; streams are opened again in %.1f s", node, trouble, pause)
            try:
                await asyncio.wait_for(self.done.wait(), pause)
            except asyncio.TimeoutError:
                pass
        await asyncio.gather(*serving.values(), return_exceptions=True)

    async def open_missing(self, node, serving):
        async with self.channel(node) as channel:
            described = await rpc.ExecutorStub(channel).DescribeNode(v1.DescribeNodeRequest(), timeout=5)
        if not described.shards:
            raise ConnectionError("it has no shards yet")
        # Each shard has some, for it does not know of the others.
        credit = -(-self.options.concurrency // len(described.shards))
        for shard in described.shards:
            if shard.index not in serving:
                serving[shard.index] = asyncio.create_task(self.serve(shard.data_address, credit))

    def channel(self, address):
        options = [("grpc.max_receive_message_length", 8 << 20), ("grpc.keepalive_time_ms", 5_000), ("grpc.keepalive_timeout_ms", 5_000)]
        tls = self.options
        if not tls.tls_cert:
            return grpc.aio.insecure_channel(address, options)
        read = lambda path: open(path, "rb").read()  # noqa: E731
        credentials = grpc.ssl_channel_credentials(read(tls.tls_ca), read(tls.tls_key), read(tls.tls_cert))
        # Nodes come and go: a certificate says who a node is, not where.
        options.append(("grpc.ssl_target_name_override", tls.tls_node_name))
        return grpc.aio.secure_channel(address, credentials, options)

    # -- one stream

    async def serve(self, address, credit):
        async with self.channel(address) as channel:
            call = rpc.WorkerStub(channel).Work()
            hello = v1.WorkerHello(pool=self.options.pool, worker=f"python-{os.getpid()}")
            await call.write(v1.WorkerMessage(hello=hello, credit=0 if self.finishing else credit))
            log.info("stream opened to %s", address)
            stream = Stream()
            self.streams.append(stream)
            self.opened.set()
            if self.done.is_set():
                stream.outbox.put_nowait(None)
            speaking = asyncio.create_task(self.speak(stream, call))
            try:
                async for batch in call:
                    self.receive(stream, batch)
            finally:
                self.close(stream)
                speaking.cancel()
                await asyncio.gather(speaking, return_exceptions=True)

    def close(self, stream):
        """What it had to say goes to another one."""
        if stream in self.streams:
            self.streams.remove(stream)
        if not self.streams:
            self.opened.clear()
        while not stream.outbox.empty():
            said = stream.outbox.get_nowait()
            if said is None:
                continue
            outcome, _ = said
            if outcome is not None:
                self.spawn(self.send_again(outcome, stream))
            self.hold(-1)

    def receive(self, stream, batch):
        for token in batch.cancelled:
            if token in self.in_hand:
                # Not at once: one that has not begun yet would not hear of it.
                asyncio.get_running_loop().call_soon(self.in_hand[token][0].cancel)
        for task in batch.tasks:
            if task.token in self.in_hand:
                # It came again after its first stream broke: it goes on.
                self.in_hand[task.token][1] = stream
            else:
                self.in_hand[task.token] = [self.spawn(self.work(task)), stream]
        for returned in batch.returned:
            # The partition of its execution moves: another node has it, or this one in a moment.
            self.spawn(self.send_again(returned.outcome, stream, RETURN_AFTER_S))

    def spawn(self, work):
        self.hold(1)
        task = asyncio.create_task(work)
        task.add_done_callback(lambda _: self.hold(-1))
        return task

    async def work(self, task):
        outcome = None
        try:
            async with self.places:
                outcome = await call(task)
        except asyncio.CancelledError:
            log.info("cancelled %s", task.function)
        _, stream = self.in_hand.pop(task.token)
        await self.send(outcome, stream, charged=stream)

    async def send(self, outcome, stream, charged=None):
        """Sends on this stream, else on any other, else on the next one that is opened."""
        while not self.streams:
            await self.opened.wait()
        to = stream if stream in self.streams else self.streams[0]
        self.hold(1)
        to.outbox.put_nowait((outcome, to is charged))

    async def send_again(self, outcome, stream, after=0.0):
        """Sends on the stream after this one."""
        await asyncio.sleep(after)
        others = self.streams[self.streams.index(stream) + 1 :] if stream in self.streams else []
        await self.send(outcome, (others + self.streams + [None])[0])

    async def speak(self, stream, call):
        clock = asyncio.get_running_loop().time
        beat = clock() + HEARTBEAT_S
        while True:
            try:
                said = await asyncio.wait_for(stream.outbox.get(), max(0.001, beat - clock()))
            except asyncio.TimeoutError:
                beat = clock() + HEARTBEAT_S
                alive = [token for token, (_, charged) in self.in_hand.items() if charged is stream]
                if alive:
                    await call.write(v1.WorkerMessage(heartbeats=alive))
                continue
            if said is None:
                await call.done_writing()
                return
            message, count = v1.WorkerMessage(), 0
            while said is not None:
                outcome, gives_credit = said
                count += 1
                if outcome is not None:
                    message.outcomes.append(outcome)
                if gives_credit and not self.finishing:
                    message.credit += 1
                if count >= OUTCOMES_MAX or message.ByteSize() >= BYTES_MAX or stream.outbox.empty():
                    break
                said = stream.outbox.get_nowait()
            try:
                await call.write(message)
            except BaseException:
                for outcome in message.outcomes:
                    self.spawn(self.send_again(outcome, stream))
                raise
            finally:
                self.hold(-count)
            if said is None:
                await call.done_writing()
                return


# ---- command line ------------------------------------------------------------------------------------------------


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--node", action="append", help="public address of a node; repeat it for each [127.0.0.1:7400]")
    parser.add_argument("--pool", default="demo", help="the pool that the nodes' --bind sends functions to [%(default)s]")
    parser.add_argument("--concurrency", type=int, default=64, help="functions that run at once [%(default)s]")
    parser.add_argument("--tls-cert", help="our certificate (PEM); with it TLS is spoken")
    parser.add_argument("--tls-key", help="its private key (PEM)")
    parser.add_argument("--tls-ca", help="the authorities (PEM) that the nodes' certificates must lead to")
    parser.add_argument("--tls-node-name", help="the name that the nodes' certificates have")
    options = parser.parse_args()
    options.node = options.node or ["127.0.0.1:7400"]
    if options.concurrency < 1:
        parser.error("--concurrency must be at least 1")
    if options.tls_cert and not (options.tls_key and options.tls_ca and options.tls_node_name):
        parser.error("--tls-cert needs --tls-key, --tls-ca and --tls-node-name")
    return options


async def main():
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    worker, stop = Worker(arguments()), asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked_to_end():
        if stop.is_set():
            log.warning("ended before its tasks were done: others will do them")
            os._exit(1)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked_to_end)
    try:
        await worker.run(stop)
    except Refused as refused:
        sys.exit(f"error: {refused}")


if __name__ == "__main__":
    asyncio.run(main())
