"""Apache Kafka itself on this machine: one KRaft node on the loopback, for development, tests and proofs.

Law: never an imitation of Kafka, never an address other than the loopback, and nothing left running behind its owner.
"""

import fcntl
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import BinaryIO, Self

from streams.kafka_jars import POM, BrokerError, class_archive, class_path, find_java, resolve_jars

HOST = "127.0.0.1"
READY_SECONDS = 60.0
STOP_SECONDS = 30.0

# What differs from a stock broker; deploy/compose.yaml has the same.
SETTINGS = {
    "auto.create.topics.enable": "false",  # a misspelt topic is an error, not a new topic
    "message.max.bytes": "2097152",  # a check is a few KB; 10 MB is refused at the producer
    "replica.fetch.max.bytes": "2097152",
    "log.message.timestamp.before.max.ms": "9223372036854775807",  # history is written with its own time
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "broker.session.timeout.ms": "5000",  # how long a restart after a crash waits for its former self
    "broker.heartbeat.interval.ms": "1000",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "4",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.dedupe.buffer.size": "33554432",  # a million keys a pass; the default takes a quarter of the heap
}
# Measured: the first compiler alone starts faster and costs the broker less per record than both do after two million.
JVM = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true"]

# Becomes Java in place, after asking the kernel to end it together with the thread that started it.
_EXEC = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, slots=True)
class Node:
    """One broker and controller of a cluster on the loopback. Alone unless `voters` names others."""

    port: int
    controller_port: int
    id: int = 1
    voters: dict[int, int] = field(default_factory=dict)
    """Controller port of each node id, this one's included; empty means this node alone."""
    cluster: str = ""
    """The cluster id that all nodes of one cluster share; empty makes a random one."""

    def properties(self) -> dict[str, str]:
        """Return the server.properties of this node, which runs in its data folder and keeps its records in `log` there."""
        voters = self.voters or {self.id: self.controller_port}
        replicas = min(3, len(voters))
        return SETTINGS | {
            "process.roles": "broker,controller",
            "node.id": str(self.id),
            "controller.quorum.voters": ",".join(f"{id_}@{HOST}:{port}" for id_, port in voters.items()),
            "listeners": f"BROKER://{HOST}:{self.port},CONTROLLER://{HOST}:{self.controller_port}",
            "advertised.listeners": f"BROKER://{HOST}:{self.port}",
            "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "BROKER",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": "log",  # a list in Kafka, so a path of our own choice would be cut at its commas
            "default.replication.factor": str(replicas),
            "min.insync.replicas": str(max(1, replicas - 1)),
            "offsets.topic.replication.factor": str(replicas),
            "transaction.state.log.replication.factor": str(replicas),
            "transaction.state.log.min.isr": str(max(1, replicas - 1)),
            "share.coordinator.state.topic.replication.factor": str(replicas),
            "share.coordinator.state.topic.min.isr": str(max(1, replicas - 1)),
        }


class Broker:
    """A running Kafka node that belongs to the thread that launched it: when that ends, so does the node."""

    def __init__(self, node: Node, data: Path, process: subprocess.Popen[bytes]) -> None:
        self.node = node
        self.data = data
        self._process = process

    @classmethod
    def start(cls, data: Path, port: int | None = None, *, ready_seconds: float = READY_SECONDS) -> Self:
        """Start one node on `data`, formatted when empty, and return it once it answers. Raises BrokerError."""
        node = Node(port=port or free_port(), controller_port=free_port())
        broker = cls.launch(node, data)
        try:
            broker.wait_ready(ready_seconds)
        except BaseException:
            broker.kill()
            raise
        return broker

    @classmethod
    def launch(cls, node: Node, data: Path, java: list[str] | None = None) -> Self:
        """Start one node without waiting for it, as the nodes of a cluster need. Raises BrokerError."""
        java, data = java or java_command(), data.absolute()
        logs = data / "log"
        logs.mkdir(parents=True, exist_ok=True)
        if why := _taken(node.port):
            raise BrokerError(f"Port {node.port} on {HOST} is taken ({why}). Choose another, or stop what listens there.")
        _check_unused(logs)
        lines = [f"{name}={value}\n" for name, value in node.properties().items()]
        (data / "server.properties").write_text("".join(lines))
        command = [*java, f"-Dloy.log={data / 'broker.log'}"]
        if not (logs / "meta.properties").exists():
            _format(command, data, node.cluster or _cluster_id())
        return cls(node, data, _spawn([*command, "kafka.Kafka", "server.properties"], data))

    @property
    def bootstrap(self) -> str:
        """Where clients connect: host:port."""
        return f"{HOST}:{self.node.port}"

    @property
    def pid(self) -> int:
        """The process id of the Java process."""
        return self._process.pid

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        """Return when the node serves its cluster. Raises BrokerError when it ends or `seconds` pass first."""
        deadline = time.monotonic() + seconds
        while self.node.id not in live_nodes(self.node.port):
            if self._process.poll() is not None:
                raise BrokerError(f"Kafka ended with code {self._process.returncode} while starting.\n{self._last_words()}")
            if time.monotonic() > deadline:
                raise BrokerError(f"Kafka did not answer within {seconds:.0f} s.\n{self._last_words()}")
            time.sleep(0.05)

    def wait(self) -> int:
        """Wait until the node ends by itself and return its exit code."""
        return self._process.wait()

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Let the node close its log and end; kill it when it has not after `seconds`. Harmless when it has ended."""
        self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the node at once, as a crash would."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _last_words(self) -> str:
        said = [self.data / "broker.out", self.data / "broker.log"]
        lines = [line for file in said if file.exists() for line in file.read_text(errors="replace").splitlines()[-12:]]
        return "\n".join([*lines, f"(whole log: {self.data / 'broker.log'})"])


def serve(data: Path, port: int, announce: Callable[[str], None]) -> None:
    """Run one node until SIGINT or SIGTERM, then stop it cleanly. Raises BrokerError when it cannot start or go on."""
    with _until_signalled():
        with Broker.start(data, port) as broker:
            announce(f"ready on {broker.bootstrap}, data in {data}")
            code = broker.wait()
        raise BrokerError(f"Kafka ended by itself with code {code}; its log is {data / 'broker.log'}.")


def live_nodes(port: int, host: str = HOST) -> set[int]:
    """Return the ids of the nodes that serve the cluster, as the one on `port` knows them; empty when none answers."""
    # Metadata v1 asking for no topics. Its broker list leaves out nodes that do not serve yet.
    request = struct.pack(">hhihi", 3, 1, 0, -1, 0)
    try:
        with socket.create_connection((host, port), timeout=1) as connection, connection.makefile("rb") as reply:
            connection.sendall(struct.pack(">i", len(request)) + request)
            _, _, count = struct.unpack(">iii", reply.read(12))
            return {_read_node(reply) for _ in range(count)}
    except (OSError, struct.error):
        return set()


def _read_node(reply: BinaryIO) -> int:
    """Read one broker of a metadata answer: id, host, port, rack."""
    node, host_size = struct.unpack(">ih", reply.read(6))
    _, rack_size = struct.unpack(">ih", reply.read(host_size + 6)[host_size:])
    reply.read(max(0, rack_size))
    return int(node)


def java_command() -> list[str]:
    """The command that runs Kafka's programs, with their classes laid out when that is possible. Raises BrokerError."""
    java, jars = find_java(), resolve_jars()
    command = [java, *JVM, f"-Dlog4j2.configurationFile={POM.with_name('log4j2.yaml')}", "-cp", class_path(jars)]
    archive = class_archive(java, jars, lambda file: _lay_out([*command, f"-XX:ArchiveClassesAtExit={file}"]))
    return [*command, f"-XX:SharedArchiveFile={archive}"] if archive else command


def _lay_out(java: list[str]) -> None:
    """Let a node start and stop, so that Java writes down the classes it needed."""
    node = Node(port=free_port(), controller_port=free_port())
    with tempfile.TemporaryDirectory() as data, Broker.launch(node, Path(data), java) as broker:
        broker.wait_ready()


def free_port() -> int:
    """Return a loopback port that nothing uses now, below those that the system lends to outgoing connections."""
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        if not _taken(port):
            return port


def _taken(port: int) -> str:
    """Say why the loopback port cannot be listened on; empty when it can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error.strerror or str(error)
    return ""


def _check_unused(logs: Path) -> None:
    """Refuse a folder whose record log another broker holds: Kafka locks this very file the same way."""
    with (logs / ".lock").open("a") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BrokerError(f"Another Kafka uses {logs.parent}. Stop it, or choose another data folder.") from None


def _cluster_id() -> str:
    return urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _format(command: list[str], data: Path, cluster: str) -> None:
    tool = [*command, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "--config=server.properties"]
    done = subprocess.run(tool, cwd=data, env=_environment(), capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise BrokerError(f"Kafka could not format its storage.\n{(done.stdout + done.stderr).strip()}")


def _spawn(command: list[str], data: Path) -> subprocess.Popen[bytes]:
    guarded = [sys.executable, "-I", "-S", "-c", _EXEC, str(os.getpid()), *command]
    with (data / "broker.out").open("wb") as out:
        return subprocess.Popen(  # noqa: S603
            guarded,
            cwd=data,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us alone, and we stop it in order
        )


def _environment() -> dict[str, str]:
    """Return ours with a character set in which Java can name any folder."""
    return os.environ | {"LC_ALL": "C.UTF-8"}


class _Signalled(BaseException):
    """A person or a supervisor asked us to stop."""


@contextmanager
def _until_signalled() -> Iterator[None]:
    """End the block at the first SIGINT or SIGTERM, and let its clean-up run undisturbed by further ones."""
    signals = (signal.SIGINT, signal.SIGTERM)

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise _Signalled

    before = [signal.signal(number, stop) for number in signals]
    try:
        yield
    except _Signalled:
        pass
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
