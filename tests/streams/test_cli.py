"""`loy` as people meet it: help that teaches, one line for what cannot be, a traceback for what is a bug."""

import asyncio
import gc
import os
import signal
import warnings
from importlib.metadata import version

import pytest
import typer
from aiokafka.errors import UnknownTopicOrPartitionError
from rich.console import Console

from connectors.registry import SINKS
from schemas.topics import TOPICS
from streams import cli, shell
from streams.broker import free_port
from streams.program_files import SHIPPED


@pytest.fixture
def loy(capsys, monkeypatch):
    """Run a command in this process: (exit code, stdout, stderr)."""
    for known in [name for name in os.environ if name.startswith("LOY_")]:
        monkeypatch.delenv(known)

    def run(*words):
        monkeypatch.setattr("sys.argv", ["loy", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        with warnings.catch_warnings(action="ignore"):
            gc.collect()  # here a process would end, and with it whatever a failed start left open
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


def commands(group=None, path=()):
    """Every command by its words."""
    group = group or typer.main.get_command(cli.app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


# ---------------------------------------------------------------- help


@pytest.mark.parametrize(
    ("words", "command"), list(commands()), ids=lambda part: " ".join(part) if isinstance(part, tuple) else ""
)
def test_every_command_explains_itself_and_each_of_its_options(words, command):
    assert command.help, words
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{words}: {parameter.name}"


def test_help_begins_with_where_to_begin(loy):
    code, out, _ = loy("--help")
    assert code == 0
    for first in ("loy demo", "loy up", "loy verify", "LOY_KAFKA_BOOTSTRAP"):
        assert first in out


def test_the_version_is_that_of_the_package(loy):
    assert loy("--version") == (0, version("loystream") + "\n", "")


def test_the_catalogue_is_readable_on_a_narrow_terminal(loy, monkeypatch):
    monkeypatch.setattr(cli, "console", Console(width=80))
    code, out, _ = loy("topics", "list")
    assert code == 0
    for topic in TOPICS:
        assert topic.name in out
    assert max(map(len, out.splitlines())) <= 80


# ---------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    "words",
    [
        "verify",
        "explain H-1",
        "seed",
        "replay --to 1",
        "topics apply",
        "program list",
        f"program publish {SHIPPED / 'first.yaml'}",
        "dead-letters list",
        "dead-letters show pos.checks/0/0",
        "dead-letters replay --all",
        "state-hash --rebuild",
        "cashiers",
        "worker",
    ],
)
def test_without_kafka_one_line_says_where_it_was_looked_for_and_what_to_do(loy, words):
    port = free_port()
    code, out, err = loy(*words.split(), "--bootstrap", f"127.0.0.1:{port}")
    assert (code, out) == (1, "")
    assert err == (
        f"loy: No Kafka answers at 127.0.0.1:{port}. Start one with `loy up` or `loy broker`, or name yours with --bootstrap or "
        "LOY_KAFKA_BOOTSTRAP.\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("dead-letters replay", "say which: origins, a code, or everything"),
        ("sink nothing", f"there is no sink 'nothing': say {', '.join(sorted(SINKS))}"),
        ("replay --speed fast", "unknown speed 'fast': say full, live, or a number such as 100x"),
    ],
)
def test_what_is_asked_wrongly_is_answered_in_one_line_with_code_2(loy, words, said):
    code, out, err = loy(*words.split())
    assert (code, out, err) == (2, "", f"loy: {said}\n")


def test_a_bad_setting_is_named_by_its_variable(loy, monkeypatch):
    monkeypatch.setenv("LOY_PARTITIONS", "many")
    code, _, err = loy("verify")
    assert code == 2
    assert err.startswith("loy: LOY_PARTITIONS: ")


@pytest.mark.parametrize("words", [("nonsense",), ("dead-letters", "list", "--code", "NO_SUCH"), ("replay", "--to", "99")])
def test_what_does_not_exist_is_a_usage_error(loy, words):
    code, out, err = loy(*words)
    assert (code, out) == (2, "")
    assert "Usage: loy" in err


def test_a_kafka_without_our_topics_is_told_from_none_at_all():
    failure = RuntimeError("Kafka did not take a record")
    failure.__cause__ = UnknownTopicOrPartitionError()
    assert "loy topics apply" in shell.in_words(failure)


def test_a_missing_extra_is_named():
    assert "loystream[demo]" in shell.in_words(ModuleNotFoundError("No module named 'polars'", name="polars"))
    assert not shell.is_for_people(ModuleNotFoundError("No module named 'schemas.nothing'", name="schemas.nothing"))


@pytest.mark.parametrize(
    "bug", [KeyError("x"), IndexError(), AssertionError("broken"), TypeError(), UnicodeDecodeError("utf-8", b"", 0, 1, "")]
)
def test_a_bug_is_not_made_into_a_message(monkeypatch, bug):
    def fail():
        raise bug

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(type(bug)):
        cli.main()


# ---------------------------------------------------------------- programs


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("*.yaml")), ids=lambda file: file.name)
def test_a_shipped_program_is_said_back(loy, file):
    code, out, err = loy("program", "check", str(file))
    assert (code, err) == (0, "")
    assert "- In force for purchases from" in out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is nothing in it"),
        ("program: x\n  bad: [", "line 2"),
        ("program: x\nversion: one\n", "line 2: version: Input should be a valid integer"),
    ],
)
def test_a_broken_program_is_told_with_every_mistake(loy, tmp_path, text, said):
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    code, out, err = loy("program", "check", str(file))
    assert (code, out) == (2, "")
    assert err.startswith("loy: broken.yaml is not a program:")
    assert said in err


@pytest.mark.parametrize("missing", ["nothing.yaml", "."])
def test_a_file_that_is_not_there_is_a_usage_error(loy, tmp_path, missing):
    code, _, err = loy("program", "check", str(tmp_path / missing))
    assert code == 2
    assert "Traceback" not in err


# ---------------------------------------------------------------- signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_work_after_what_it_started_was_stopped(monkeypatch, number, code):
    stopped = []

    async def work():
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            stopped.append(number)

    monkeypatch.setattr(cli, "app", lambda: shell.run(work()))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        signal.signal(signal.SIGINT, before)
    assert (ended.value.code, stopped) == (code, [number])
