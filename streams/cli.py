"""`loy`: every command. Each is a few lines over a function that does the work; errors for people, exit codes for scripts."""

import asyncio
import logging
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from schemas.codes import Code
from schemas.topics import TOPICS
from streams import watch_commands
from streams.bench import commands as bench_commands
from streams.chaos import commands as chaos_commands
from streams.doctor.commands import doctor
from streams.shell import Bootstrap, console, in_words, is_for_people, require_topics, run, settings_of

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""[bold]Loystream[/bold], the loyalty engine that lives on the event log.

    Every point is the result of one pure function over one log, so it can be proven, replayed and explained.

    [bold]Try it:[/bold] loy demo   [bold]Keep it running:[/bold] loy up   [bold]Prove it:[/bold] loy verify

    Everything reads LOY_* variables; LOY_KAFKA_BOOTSTRAP points it at a Kafka of yours.""",
)
topics_app = typer.Typer(no_args_is_help=True, help="The topics, as the catalogue in code wants them.")
program_app = typer.Typer(no_args_is_help=True, help="Loyalty programs: readable files, published once, never edited.")
letters_app = typer.Typer(no_args_is_help=True, help="Records that could not be taken: look at them, send them again.")
app.add_typer(topics_app, name="topics")
app.add_typer(program_app, name="program")
app.add_typer(letters_app, name="dead-letters")
watch_commands.register(app)
app.command("bench")(bench_commands.bench)
app.command("bench-scaling")(bench_commands.bench_scaling)
app.command("bench-backlog")(bench_commands.bench_backlog)
app.command("chaos")(chaos_commands.chaos)
app.command("fuzz")(chaos_commands.fuzz)
app.command("doctor")(doctor)


class Clock(StrEnum):
    """What a sandbox calls now."""

    wall = "wall"
    data = "data"


ProgramFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A .yaml or .json file.")]


def main() -> None:
    """The entry point: errors for people are one line and exit code 2 (what was asked cannot be) or 1 (it failed).

    Ctrl-C is 130 and SIGTERM 143, after everything that was started has been stopped. A bug shows its traceback.
    """
    logging.basicConfig(level=logging.CRITICAL)  # libraries speak through exceptions; `loy worker` sets its own
    try:
        app()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except asyncio.CancelledError:
        raise SystemExit(143) from None
    except Exception as failure:
        if not is_for_people(failure):
            raise
        Console(stderr=True).print(f"loy: {in_words(failure)}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(2 if isinstance(failure, ValueError | LookupError) else 1) from None


# ---------------------------------------------------------------- running


@app.command()
def demo(weeks: Annotated[int, typer.Option(min=1, max=53, help="How many weeks of baskets.")] = 4) -> None:
    """Show it working: real Kafka, one worker, weeks of baskets, the result and the proof. Ends by itself."""
    from streams.demo import demo as show  # noqa: PLC0415

    if not run(show(console, settings_of(), last_week=weeks)):
        raise typer.Exit(1)


@app.command()
def up(
    port: Annotated[int, typer.Option(help="Where Kafka answers.")] = 9092,
    workers: Annotated[int, typer.Option(min=1, max=16, help="How many workers.")] = 1,
    sinks: Annotated[bool, typer.Option(help="Infobip, Ometria and CRM against sandboxes on this machine.")] = True,
    program: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The program to publish; the grocer's when none is named.")
    ] = None,
    clock: Annotated[
        Literal["wall", "stream"] | None, typer.Option(help="stream: time is what the log says; needed to replay history.")
    ] = None,
) -> None:
    """The whole system on this machine, until Ctrl-C. Data stays in LOY_DATA (.loystream)."""
    from streams.up import up as stay  # noqa: PLC0415

    run(stay(console, settings_of(clock=clock), port=port, workers=workers, sinks=sinks, program=program))


@app.command()
def worker(bootstrap: Bootstrap = None) -> None:
    """One worker: intake, ledger, clock. Start more of them to go faster; stop them with SIGTERM."""
    from streams.app import run_worker  # noqa: PLC0415

    settings = settings_of(bootstrap)
    run(require_topics(settings.kafka_bootstrap))
    logging.getLogger().handlers.clear()
    run_worker(settings)


@app.command()
def sink(
    name: Annotated[str, typer.Argument(help="Which sink, e.g. infobip.")],
    bootstrap: Bootstrap = None,
    dry_run: Annotated[bool, typer.Option(help="Show the requests for a few members; send nothing.")] = False,
    resync: Annotated[
        bool, typer.Option(help="Tell the vendor of all members again, then end. Goes on where it was stopped.")
    ] = False,
    replay_dead_letters: Annotated[bool, typer.Option(help="Send what the vendor rejected again, then end.")] = False,
    requirements: Annotated[bool, typer.Option(help="Say what a person must create at the vendor's first.")] = False,
) -> None:
    """A worker of one sink: tells a vendor of members and events, inside its limits. Settings are LOY_<NAME>_*."""
    from streams import sink_commands  # noqa: PLC0415

    sink_commands.require(name)
    if requirements:
        sink_commands.requirements(console, sink_commands.named(name))
        return
    settings = settings_of(bootstrap)
    run(require_topics(settings.kafka_bootstrap))
    vendor = sink_commands.named(name)
    if dry_run:
        run(sink_commands.dry_run(console, settings, vendor))
    elif resync:
        run(sink_commands.resync(console, settings, vendor))
    elif replay_dead_letters:
        run(sink_commands.replay_rejected(console, settings, vendor))
    else:
        from streams.app import run_sink  # noqa: PLC0415

        logging.getLogger().handlers.clear()
        sink_commands.starting(console, settings, vendor)
        run_sink(settings, name)


@app.command()
def reconcile(
    name: Annotated[str, typer.Argument(help="Which sink.")],
    bootstrap: Bootstrap = None,
    sample: Annotated[int | None, typer.Option(help="Compare about so many members, not all.")] = None,
    repair: Annotated[bool, typer.Option(help="Tell the vendor of the members that differ, and of no others.")] = False,
) -> None:
    """Compare what a vendor holds with the log, field by field. Exit code 1 when something differs and was not repaired."""
    from streams import sink_commands  # noqa: PLC0415

    if not run(sink_commands.reconcile(console, settings_of(bootstrap), sink_commands.named(name), sample=sample, repair=repair)):
        raise typer.Exit(1)


@app.command()
def sandbox(
    name: Annotated[str, typer.Argument(help="Which vendor: infobip, ometria, dataverse, salesforce, oracle, webhook.")],
    port: Annotated[int, typer.Option(help="Where it answers, on loopback.")] = 8080,
    clock: Annotated[
        Clock, typer.Option(help="data: now is the newest time any record named, for replays of history.")
    ] = Clock.wall,
) -> None:
    """A vendor's API on this machine, strict as the vendor, until Ctrl-C. Its page shows what arrived."""
    from streams import sink_commands  # noqa: PLC0415

    run(sink_commands.sandbox(console, name, port, clock.value))


@app.command()
def broker(
    data: Annotated[Path | None, typer.Option(help="Folder for its data; kafka in LOY_DATA when none is named.")] = None,
    port: Annotated[int, typer.Option(help="Where it answers.")] = 9092,
) -> None:
    """A real Apache Kafka for development: one node (KRaft), until Ctrl-C. Needs Java 17+, and Maven once."""
    from streams.broker import serve  # noqa: PLC0415

    serve(data or settings_of().data / "kafka", port, console.print)


# ---------------------------------------------------------------- setting up


@topics_app.command("apply")
def topics_apply(
    bootstrap: Bootstrap = None,
    partitions: Annotated[int | None, typer.Option(help="Of topics keyed by member [LOY_PARTITIONS].")] = None,
    replication: Annotated[int | None, typer.Option(help="Copies; default three, or as many as there are brokers.")] = None,
    keep_history: Annotated[
        bool, typer.Option("--keep-history", help="Delete nothing by age: needed to replay receipts of years ago.")
    ] = False,
) -> None:
    """Create what is missing, correct settings, refuse what cannot be corrected (exit code 1)."""
    from streams.app import changelogs  # noqa: PLC0415
    from streams.topic_admin import apply_topics  # noqa: PLC0415

    settings = settings_of(bootstrap, partitions=partitions)
    report = run(
        apply_topics(
            settings.kafka_bootstrap, settings.partitions, replication, keep_history=keep_history, extra=changelogs(settings)
        )
    )
    console.print(report.table())
    for error in report.errors:
        console.print(error, style="red", markup=False)
    if not report.ok:
        raise typer.Exit(1)


@topics_app.command("list")
def topics_list() -> None:
    """The catalogue: what each topic holds, who writes it, who reads it."""
    from rich.table import Column, Table  # noqa: PLC0415

    table = Table(Column("topic", no_wrap=True), "key", "about", "written by", "read by", "kept")
    for topic in TOPICS:
        kept = "newest per key" if topic.compacted else f"{topic.retention_days} d" if topic.retention_days else "for ever"
        table.add_row(topic.name, topic.key, topic.about, topic.writer, ", ".join(topic.readers), kept)
    console.print(table)


@program_app.command("check")
def program_check(file: ProgramFile) -> None:
    """Read a program file and say it back in plain sentences; or every mistake, with its path and line."""
    from streams.domain.sentences import explain as sentences  # noqa: PLC0415
    from streams.program_files import load_program  # noqa: PLC0415

    for sentence in sentences(load_program(file)):
        console.print(sentence, markup=False, highlight=False)


@program_app.command("publish")
def program_publish(file: ProgramFile, bootstrap: Bootstrap = None) -> None:
    """Publish a version. It counts for purchases from its `effective_from` on."""
    from streams.program_files import load_program  # noqa: PLC0415
    from streams.publishing import publish  # noqa: PLC0415

    program = load_program(file)
    new = run(publish(settings_of(bootstrap).kafka_bootstrap, program))
    console.print(f"{program.key} {'published' if new else 'was there already, unchanged'}.")


@program_app.command("list")
def program_list(bootstrap: Bootstrap = None) -> None:
    """What was published."""
    from streams.publishing import versions  # noqa: PLC0415

    for key, program in sorted(run(versions(settings_of(bootstrap).kafka_bootstrap)).items()):
        about = f"from {program.effective_from.isoformat()}  {program.title}" if program else "cannot be read here"
        console.print(f"{key}  {about}", markup=False, highlight=False)


# ---------------------------------------------------------------- feeding


@app.command()
def seed(
    bootstrap: Bootstrap = None,
    program: Annotated[str, typer.Option(help="The program they join.")] = "main",
) -> None:
    """Register the 2,469 households of the Complete Journey baskets as members."""
    from streams.feeding import seed as register  # noqa: PLC0415

    run(register(console, settings_of(bootstrap).kafka_bootstrap, program))


@app.command()
def replay(
    bootstrap: Bootstrap = None,
    speed: Annotated[str, typer.Option(help="full, 100x, or live: today's weekday of the data, at its own pace.")] = "full",
    from_: Annotated[int, typer.Option("--from", min=1, max=53, help="First week.")] = 1,
    to: Annotated[int, typer.Option("--to", min=1, max=53, help="Last week.")] = 8,
    clean: Annotated[bool, typer.Option("--clean", help="Without our returns, resends and late receipts.")] = False,
) -> None:
    """Send weeks of baskets to a running system and show what they did. `loy seed` comes first.

    But for live, the receipts are history: the workers' clock must follow the log (`loy up --clock stream`).
    """
    from streams.feeding import feed  # noqa: PLC0415

    run(feed(console, settings_of(bootstrap).kafka_bootstrap, speed=speed, first=from_, last=to, clean=clean))


# ---------------------------------------------------------------- proving


@app.command()
def verify(
    bootstrap: Bootstrap = None,
    settle: Annotated[float, typer.Option(help="Seconds to wait for answers still due.")] = 10.0,
) -> None:
    """Prove from the topics alone that every check has one outcome and every balance is the sum of its entries.

    Exit code 1 at the first violation, with member and offsets.
    """
    from streams.verify import verify as prove  # noqa: PLC0415

    findings = run(prove(settings_of(bootstrap).kafka_bootstrap, settle_seconds=settle))
    console.print(findings.render())
    if not findings.ok:
        raise typer.Exit(1)


@app.command()
def explain(
    member: Annotated[str, typer.Argument(help="A loyalty id, or receipt:<check id> of a receipt without a member.")],
    check: Annotated[str | None, typer.Argument(help="A check id.")] = None,
    bootstrap: Bootstrap = None,
) -> None:
    """How each point of a member arose and went; with a check id, its points by line and rule, and their fate."""
    from streams.explain import explain as story  # noqa: PLC0415

    console.print(run(story(settings_of(bootstrap).kafka_bootstrap, member)).render(check))


@app.command("state-hash")
def state_hash(
    bootstrap: Bootstrap = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Decide loy.commands again from zero, and compare.")] = False,
) -> None:
    """A hash of all accounts. With --rebuild also of the accounts computed anew from the log; exit code 1 if they differ."""
    from streams.rebuild import hashes  # noqa: PLC0415

    settings = settings_of(bootstrap)
    found = run(hashes(settings.kafka_bootstrap, settings.group, rebuild=rebuild))
    for name, one in zip(("stored", "rebuilt"), found, strict=False):
        console.print(f"{name:<8} {one}", highlight=False)
    if len(set(found)) > 1:
        raise typer.Exit(1)


@app.command()
def cashiers(bootstrap: Bootstrap = None) -> None:
    """What each cashier's receipts say: identified share, returns, sign-ups, each with its n."""
    from streams.cashiers import cashiers as figures  # noqa: PLC0415

    console.print(run(figures(settings_of(bootstrap).kafka_bootstrap)))


@letters_app.command("list")
def letters_list(
    bootstrap: Bootstrap = None,
    count: Annotated[int, typer.Option(help="How many, newest first.")] = 20,
    code: Annotated[Code | None, typer.Option(metavar="CODE", help="Only of this code (docs/codes.md).")] = None,
) -> None:
    """The newest dead letters, and how many there are of each code."""
    from streams.dead_letters import newest  # noqa: PLC0415

    console.print(run(newest(settings_of(bootstrap).kafka_bootstrap, count, code=code)).render())


@letters_app.command("show")
def letters_show(origin: Annotated[str, typer.Argument(help="topic/partition/offset.")], bootstrap: Bootstrap = None) -> None:
    """One dead letter, whole. It may show personal data."""
    from streams.dead_letters import show  # noqa: PLC0415

    console.print(run(show(settings_of(bootstrap).kafka_bootstrap, origin)).render())


@letters_app.command("replay")
def letters_replay(
    origins: Annotated[list[str] | None, typer.Argument(help="topic/partition/offset, as `list` shows them.")] = None,
    bootstrap: Bootstrap = None,
    code: Annotated[Code | None, typer.Option(metavar="CODE", help="All of this code.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also what was sent again before.")] = False,
) -> None:
    """Send dead letters to their doors again, once, as they were."""
    from streams.dead_letters import replay as resend  # noqa: PLC0415

    work = resend(settings_of(bootstrap).kafka_bootstrap, origins=origins or (), code=code, everything=everything, again=again)
    console.print(run(work).render())


@app.command("bench-sinks")
def bench_sinks(
    members: Annotated[int, typer.Option(min=1, help="Changed members; the webhook gets a tenth.")] = 20_000,
    only: Annotated[str | None, typer.Option(help="One sink: infobip, ometria, crm, webhook.")] = None,
) -> None:
    """Drain a backlog of changed members through each sink, inside the vendor's limits. CPU and saturation matter."""
    from streams.bench.sinks import COURSES  # noqa: PLC0415
    from streams.bench.sinks import bench_sinks as measure  # noqa: PLC0415

    if only is not None and only not in COURSES:
        raise ValueError(f"there is no {only!r} to measure: say {', '.join(COURSES)}")
    run(measure(console, settings_of(), members=members, sinks=[only] if only else tuple(COURSES)))


@app.command("bench-failover")
def bench_failover(kills: Annotated[int, typer.Option(min=1, help="Of each kind.")] = 10) -> None:
    """Kill, restart and add workers under an even load: how long checks wait whose partitions move, and all others."""
    from streams.bench.failover import bench_failover as measure  # noqa: PLC0415

    run(measure(console, settings_of(), kills=kills))


def _version(wanted: bool) -> None:
    if wanted:
        console.print(version("loystream"))
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")] = False,
) -> None: ...
