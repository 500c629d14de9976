"""What a node of Kafka is started from: Java, the server's jars, and their classes as Java has laid them out.

Maven resolves the jars that `deploy/kafka/pom.xml` pins, once, into a cache outside the repository; Java 17 or newer runs them.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

JAVA_MIN = 17
POM = Path(__file__).parents[1] / "deploy" / "kafka" / "pom.xml"
OTHER_WAY = "Or start one in a container with deploy/compose.yaml, or name any Kafka with LOY_KAFKA_BOOTSTRAP."


class BrokerError(RuntimeError):
    """The broker cannot be had; the message says why and what to do, for a person."""


def resolve_jars() -> Path:
    """Return the folder of the Kafka server jars, resolved by Maven on first use. Raises BrokerError.

    LOY_KAFKA_JARS names a ready folder instead; LOY_CACHE moves the cache (default: loystream in the XDG cache folder).
    """
    if ready := os.environ.get("LOY_KAFKA_JARS"):
        if not any(Path(ready).glob("kafka_*.jar")):
            raise BrokerError(f"LOY_KAFKA_JARS names {ready}, which has no kafka_*.jar.")
        return Path(ready)
    return cached(f"kafka-{_pinned()}", lambda jars: fetch_jars(POM, jars))


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """Return a folder of the cache, which `make` fills on first use; once, also when several ask at the same time."""
    found = _cache() / name
    if not found.exists():
        found.parent.mkdir(parents=True, exist_ok=True)
        with (found.parent / "lock").open("w") as lock, tempfile.TemporaryDirectory(dir=found.parent, prefix="making-") as fresh:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not found.exists():
                make(Path(fresh) / "made")
                (Path(fresh) / "made").rename(found)
    return found


def class_path(jars: Path) -> str:
    """All jars of a folder, in the order of their names."""
    return os.pathsep.join(map(str, sorted(jars.glob("*.jar"))))


def class_archive(java: str, jars: Path, make: Callable[[Path], None]) -> Path | None:
    """Return the classes of `jars` laid out in a file by `make` on first use (JEP 350): a node starts in half the time and CPU.

    None where that did not work: it is not tried again. A file that no longer fits Java or the jars Java itself passes over.
    """
    of = f"{Path(java).resolve()} {Path(java).stat().st_mtime_ns} {class_path(jars)}"

    def laid_out(made: Path) -> None:
        made.mkdir()
        with suppress(BrokerError):
            make(made / "kafka.jsa")

    with suppress(OSError):
        archive = cached(f"kafka-classes-{hashlib.sha256(of.encode()).hexdigest()[:12]}", laid_out) / "kafka.jsa"
        return archive if archive.exists() else None
    return None


def _cache() -> Path:
    named = os.environ.get("LOY_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "loystream"


def _pinned() -> str:
    """Name the pom's Kafka version and its content, so that any change of the pom resolves anew."""
    if not POM.exists():
        raise BrokerError(f"{POM} is missing: run from a checkout, or name a folder of Kafka's jars with LOY_KAFKA_JARS.")
    text = POM.read_text()
    version = re.search(r"<kafka\.version>([^<]+)<", text)
    if not version:
        raise BrokerError(f"{POM} names no kafka.version.")
    return f"{version[1]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def fetch_jars(pom: Path, jars: Path) -> None:
    """Let Maven put what `pom` depends on into the folder `jars`. Raises BrokerError."""
    mvn = shutil.which("mvn")
    if not mvn:
        raise BrokerError(f"Maven (mvn) is needed once, to fetch Kafka's jars. Debian: apt-get install maven. {OTHER_WAY}")
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
    done = subprocess.run([mvn, "-q", "-B", "-f", str(pom), *goal], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise BrokerError(f"Maven could not fetch Kafka's jars.\n{(done.stdout + done.stderr).strip()}\n{OTHER_WAY}")


def find_java() -> str:
    """Return the Java to run. Raises BrokerError when there is none, or only an old one."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin" if home else None) or shutil.which("java")
    ask = f"Debian: apt-get install openjdk-17-jre-headless. {OTHER_WAY}"
    if not java:
        raise BrokerError(f"Java {JAVA_MIN} or newer is needed to run Kafka, and there is none. {ask}")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr  # noqa: S603
    version = re.search(r'version "(?:1\.)?(\d+)', said)
    if not version or int(version[1]) < JAVA_MIN:
        raise BrokerError(
            f"Java {JAVA_MIN} or newer is needed to run Kafka; {java} says: {said.strip()[:80] or 'nothing'}. {ask}"
        )
    return java
