"""The engines of the comparison: what each is called, where it writes, how it is had and started, and what it lacks.

What is not in the product's environment is fetched at bench time into the cache: Quix Streams by pip from a hashed lock, Kafka
Streams by Maven, its one class compiled by javac. Law: an engine that cannot be had is left out, and why is said.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from streams.bench.peers import plain, quix, shell, stock
from streams.kafka_jars import BrokerError, cached, fetch_jars, find_java

ROOT = Path(__file__).parents[3]
SOURCES = ROOT / "deploy" / "peers"
JVM = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC")  # of two cores, the collector that costs least

Command = Callable[[str, Path, int], list[str]]


class EngineMissingError(RuntimeError):
    """The engine cannot be had here; the message says what is needed."""


@dataclass(frozen=True, slots=True)
class Engine:
    """One of them."""

    name: str
    title: str
    command: Command
    """From bootstrap, folder and number of partitions to what starts it. Raises EngineMissingError."""
    changelog: str
    lacks: str
    """What it skips even of the reference job."""
    member: Callable[[bytes], bytes] = bytes
    """The member of a key in the changelog."""
    slow: bool = False
    """It gets a short warm-up: nothing in it wants a long one."""

    @property
    def checks(self) -> str:
        """The topic that it reads."""
        return f"bench.{self.name}.checks"

    @property
    def events(self) -> str:
        """The topic that it writes."""
        return f"bench.{self.name}.events"

    @property
    def group(self) -> str:
        """Its consumer group."""
        return f"bench-{self.name}"


def _module(name: str) -> list[str]:
    return ["-m", f"streams.bench.peers.{name}"]


def _plain(bootstrap: str, _folder: Path, _partitions: int) -> list[str]:
    return [sys.executable, *_module("plain"), bootstrap]


def _shell(bootstrap: str, folder: Path, partitions: int) -> list[str]:
    return [sys.executable, *_module("shell"), bootstrap, str(folder), str(partitions)]


def _stock(bootstrap: str, folder: Path, partitions: int) -> list[str]:
    return [sys.executable, *_module("stock"), bootstrap, str(folder), str(partitions)]


def _quix(bootstrap: str, folder: Path, _partitions: int) -> list[str]:
    lock = _source("quix.lock")
    environment = cached(f"quix-{_digest(lock)}", lambda made: _environment(made, lock))
    return [str(environment / "bin" / "python"), *_module("quix"), bootstrap, str(folder)]


def _streams(bootstrap: str, folder: Path, _partitions: int) -> list[str]:
    pom, source = _source("pom.xml"), _source("ReferenceJob.java")
    try:
        java = find_java()
        made = cached(f"kafka-streams-{_digest(pom, source)}", lambda made: _compiled(made, pom, source))
    except BrokerError as problem:
        raise EngineMissingError(str(problem)) from None
    log = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    path = os.pathsep.join(map(str, [made, *sorted(made.glob("*.jar"))]))
    return [java, *JVM, log, "-cp", path, source.stem, bootstrap, str(folder)]


ENGINES = (
    Engine("plain", "Plain aiokafka loop", _plain, plain.CHANGELOG, "the store (rows are in a dict), restoring it, fail-over"),
    Engine("shell", "Loystream's runtime, this job", _shell, shell.CHANGELOG, ""),
    Engine("stock", "Stock Faust 0.15.3", _stock, stock.CHANGELOG, "in bad times: records (docs/adr/0002)", slow=True),
    Engine(
        "quix",
        "Quix Streams 3.28.1",
        _quix,
        quix.CHANGELOG,
        "",
        lambda key: key.removesuffix(b"|" + quix.KEY),
    ),
    Engine("streams", "Kafka Streams 4.3.0 (Java)", _streams, "bench-streams-members-changelog", ""),
)


# ---------------------------------------------------------------- having them


def _source(name: str) -> Path:
    path = SOURCES / name
    if not path.exists():
        raise EngineMissingError(f"{path} is missing: run from a checkout")
    return path


def _digest(*files: Path) -> str:
    content = b"".join(file.read_bytes() for file in files)
    return hashlib.sha256(content + sys.version.encode()).hexdigest()[:12]


def _environment(made: Path, lock: Path) -> None:
    _run([sys.executable, "-m", "venv", str(made)])
    pip = [str(made / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--require-hashes"]
    _run([*pip, "-r", str(lock)])


def _compiled(made: Path, pom: Path, source: Path) -> None:
    fetch_jars(pom, made)
    home = os.environ.get("JAVA_HOME")
    javac = shutil.which("javac", path=f"{home}/bin" if home else None) or shutil.which("javac")
    if javac is None:
        raise EngineMissingError("javac is needed once. Debian: apt-get install openjdk-17-jdk-headless")
    _run([javac, "-cp", f"{made}/*", "-d", str(made), str(source)])


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own words
    if done.returncode:
        raise EngineMissingError(f"{' '.join(command[:4])} ...: {(done.stdout + done.stderr).strip()[-600:]}")
