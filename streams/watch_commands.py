"""The commands around watching: `loy top`, `loy trace`, `loy report`. Each is a few lines over a function that does the work."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer

from connectors import registry
from streams.shell import Bootstrap, console, run, settings_of

report_app = typer.Typer(no_args_is_help=True, help="Reports made from the topics alone.")


def register(app: typer.Typer) -> None:
    """Make them commands of `loy`."""
    app.add_typer(report_app, name="report")
    app.command("top")(top)
    app.command("trace")(trace)


@report_app.callback()
def _reports() -> None:
    """Keeps `sla` a command of its own, though it is the only one."""


@report_app.command("sla")
def sla(
    day: Annotated[str | None, typer.Option(metavar="YYYY-MM-DD", help="Which day, UTC; yesterday when none is named.")] = None,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder of the files; LOY_DATA/reports when none is named.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 when a promise was not kept.")] = False,  # noqa: FBT002
    bootstrap: Bootstrap = None,
) -> None:
    """The daily file of service levels, as JSON and CSV: answers, events and deliveries in time, over all and by outlet.

    It may be asked for as often as you like; ask within three days, for so long are replies kept.
    """
    from streams.sla import read, summary, write, yesterday  # noqa: PLC0415

    settings = settings_of(bootstrap)
    wanted = yesterday(datetime.now(UTC)) if day is None else _day(day)
    figures = run(read(settings, wanted, sorted(registry.SINKS)))
    for line in (*summary(figures), *(f"written: {path}" for path in write(figures, out or settings.data / "reports"))):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if strict and not figures.met:
        raise typer.Exit(1)


def top(
    url: Annotated[
        list[str] | None, typer.Option(help="Where a process answers, e.g. http://127.0.0.1:9464; may be repeated.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.2, help="How often to look.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print it once, then end.")] = False,  # noqa: FBT002
) -> None:
    """The vital figures live: checks, points, what waits, sinks. Of what `loy up` started here, or of the processes named."""
    from streams.top import top as show  # noqa: PLC0415

    run(show(console, settings_of(), url or [], seconds=seconds, once=once))


def trace(
    about: Annotated[str | None, typer.Argument(help="A check id, or a trace id (32 hex digits).")] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--from", exists=True, file_okay=False, help="Where traces.jsonl lie; LOY_DATA when none is named."),
    ] = None,
) -> None:
    """Where the time of one check went, from the till to the vendor; without an id, the slowest checks there are.

    Reads what processes wrote with LOY_TRACING=file.
    """
    from streams.tracing.waterfall import slowest, waterfalls  # noqa: PLC0415

    where = folder or settings_of().data
    for shown in waterfalls(where, about) if about else [slowest(where)]:
        console.print(shown)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"--day {text}: say it as YYYY-MM-DD") from None
