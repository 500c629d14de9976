"""Prometheus and Alertmanager beside a system on this machine, when they are installed: loopback, ports of their own.

Law: they are lookers-on. Nothing depends on them, and that one of them is missing or ends, ends nothing else.
"""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import yaml

from streams.broker import HOST, free_port
from streams.settings import Settings

RULES = Path(__file__).parents[1] / "deploy" / "prometheus"
STOP_SECONDS = 10


@dataclass
class Onlooker:
    """A process that looks on."""

    name: str
    url: str
    process: subprocess.Popen[bytes]
    _out: BinaryIO = field(repr=False)

    def stop(self) -> None:
        """End it. Harmless when it has ended."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._out.close()


def start(settings: Settings, ports: Mapping[str, int], *, interval: str = "5s") -> list[Onlooker]:
    """Watch the processes with these names and metrics ports. Starts what is installed; answers what was started."""
    folder = settings.data / "prometheus"
    folder.mkdir(parents=True, exist_ok=True)
    write_targets(settings.targets, ports)
    started = []
    if alertmanager := shutil.which("prometheus-alertmanager") or shutil.which("alertmanager"):
        started.append(_alertmanager(alertmanager, folder, settings.alertmanager_port or free_port()))
    if prometheus := shutil.which("prometheus"):
        (folder / "prometheus.yml").write_text(_configuration(settings.targets, started, interval))
        started.append(_prometheus(prometheus, folder, settings.prometheus_port or free_port()))
    return started


def write_targets(path: Path, ports: Mapping[str, int]) -> None:
    """As Prometheus's file_sd wants it."""
    targets = [{"targets": [f"{HOST}:{port}"], "labels": {"instance": name}} for name, port in ports.items()]
    path.write_text(json.dumps(targets, indent=1) + "\n")


def _configuration(targets: Path, alertmanagers: Sequence[Onlooker], interval: str) -> str:
    addresses = [one.url.removeprefix("http://") for one in alertmanagers]
    return yaml.safe_dump(
        {
            "global": {"scrape_interval": interval, "evaluation_interval": interval},
            "rule_files": [str(RULES / "*.rules.yml")],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": addresses}]}]},
            "scrape_configs": [{"job_name": "loy", "file_sd_configs": [{"files": [str(targets.resolve())]}]}],
        },
        sort_keys=False,
    )


def _prometheus(program: str, folder: Path, port: int) -> Onlooker:
    return _run(
        folder,
        "prometheus",
        port,
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'series'}",
        "--storage.tsdb.retention.time=2d",
        f"--web.listen-address={HOST}:{port}",
        "--enable-feature=exemplar-storage",
        "--log.level=warn",
    )


def _alertmanager(program: str, folder: Path, port: int) -> Onlooker:
    return _run(
        folder,
        "alertmanager",
        port,
        program,
        f"--config.file={RULES / 'alertmanager.yml'}",
        f"--storage.path={folder / 'alerts'}",
        f"--web.listen-address={HOST}:{port}",
        "--cluster.listen-address=",
        "--log.level=warn",
    )


def _run(folder: Path, name: str, port: int, *command: str) -> Onlooker:
    out = (folder / f"{name}.log").open("wb")
    process = subprocess.Popen(command, stdout=out, stderr=out, cwd=folder)  # noqa: S603  # found on the path, by its name
    return Onlooker(name, f"http://{HOST}:{port}", process, out)
