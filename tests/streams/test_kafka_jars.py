"""What a node is started from: each thing that is missing is named with what brings it, and what is made is made once."""

import re
import threading
from pathlib import Path

import pytest

from streams.kafka_jars import BrokerError, class_archive, find_java, resolve_jars


def test_missing_java_names_the_package_and_the_other_way(tmp_path, monkeypatch):
    only_on_path(monkeypatch, tmp_path)
    with pytest.raises(BrokerError, match=r"(?s)Java 17.*openjdk-17-jre-headless.*deploy/compose\.yaml"):
        find_java()


@pytest.mark.parametrize("version", ["1.8.0_392", "11.0.2"])
def test_old_java_is_named_with_the_package(tmp_path, monkeypatch, version):
    command(only_on_path(monkeypatch, tmp_path) / "java", f"echo 'openjdk version \"{version}\"' >&2")
    with pytest.raises(BrokerError, match=f"(?s)Java 17.*{re.escape(version)}.*openjdk-17-jre-headless"):
        find_java()


def test_java_home_goes_before_the_path(tmp_path, monkeypatch):
    command(only_on_path(monkeypatch, tmp_path) / "java", "echo 'openjdk version \"21\"' >&2")
    command(tmp_path / "old" / "bin" / "java", "echo 'openjdk version \"9\"' >&2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
    with pytest.raises(BrokerError, match=str(tmp_path / "old")):
        find_java()


def test_missing_maven_names_the_package_and_the_other_way(tmp_path, monkeypatch):
    only_on_path(monkeypatch, tmp_path)
    with pytest.raises(BrokerError, match=r"(?s)Maven.*apt-get install maven.*deploy/compose\.yaml"):
        resolve_jars()


def test_a_failing_maven_is_quoted_and_leaves_no_half_cache(tmp_path, monkeypatch):
    command(only_on_path(monkeypatch, tmp_path) / "mvn", "echo 'no such artifact'; exit 1")
    with pytest.raises(BrokerError, match="no such artifact"):
        resolve_jars()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["lock"]


def test_maven_runs_once_however_many_start_together(tmp_path, monkeypatch):
    script = f"""
        echo run >> {tmp_path}/runs
        for word in "$@"; do case $word in -DoutputDirectory=*) folder=${{word#*=}};; esac; done
        /bin/mkdir -p $folder; : > $folder/kafka_2.13.jar"""
    command(only_on_path(monkeypatch, tmp_path) / "mvn", script)
    found: list[Path] = []
    starters = [threading.Thread(target=lambda: found.append(resolve_jars())) for _ in range(4)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()
    assert (tmp_path / "runs").read_text().split() == ["run"]
    assert len(found) == 4
    assert [[jar.name for jar in jars.iterdir()] for jars in found] == [["kafka_2.13.jar"]] * 4


def test_a_named_folder_of_jars_needs_no_maven(tmp_path, monkeypatch):
    only_on_path(monkeypatch, tmp_path)
    monkeypatch.setenv("LOY_KAFKA_JARS", str(tmp_path))
    with pytest.raises(BrokerError, match=r"has no kafka_\*\.jar"):
        resolve_jars()
    (tmp_path / "kafka_2.13-4.4.0.jar").touch()
    assert tmp_path == resolve_jars()


@pytest.fixture
def java(tmp_path, monkeypatch):
    command(only_on_path(monkeypatch, tmp_path) / "java", "echo 'openjdk version \"21\"' >&2")
    return find_java()


def test_classes_are_laid_out_once_for_one_java_and_the_same_jars(tmp_path, java):
    made = []

    def make(file):
        made.append(file)
        file.write_text("classes")

    first = class_archive(java, tmp_path, make)
    assert first.read_text() == "classes"
    assert class_archive(java, tmp_path, make) == first
    (tmp_path / "kafka_2.13-9.jar").touch()
    assert class_archive(java, tmp_path, make) != first
    assert len(made) == 2


def test_without_laid_out_classes_it_goes_on_and_does_not_try_again(tmp_path, java, monkeypatch):
    tried = []

    def make(file):
        tried.append(file)
        raise BrokerError("Unrecognized VM option")

    assert class_archive(java, tmp_path, make) is None
    assert class_archive(java, tmp_path, make) is None
    assert len(tried) == 1
    monkeypatch.setenv("LOY_CACHE", "/proc/nowhere")
    assert class_archive(java, tmp_path, make) is None


def only_on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with nothing installed but what the test puts into the returned folder, and an empty cache."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("LOY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return programs


def command(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
