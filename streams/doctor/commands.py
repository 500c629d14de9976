"""The command itself. The examination is loaded when it is asked for: it knows everything, and everything takes its time."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from streams.shell import Bootstrap, console, run


def doctor(
    bootstrap: Bootstrap = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,  # noqa: FBT002
    probe: Annotated[bool, typer.Option(help="Write one record to loy.doctor, to see the broker's clock.")] = True,  # noqa: FBT002
) -> None:
    """What is wrong here, and what to do: settings, Kafka, topics, lag, clocks, disk, programs, sinks.

    Exit code 1 when something is bad; warnings do not count.
    """
    from streams.doctor.examination import examine  # noqa: PLC0415

    findings = run(examine(bootstrap, probe=probe))
    ok = all(finding.state != "bad" for finding in findings)
    if as_json:
        typer.echo(json.dumps({"ok": ok, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        table = Table("", "about", "what is", "what to do", show_lines=True)
        for finding in findings:
            table.add_row(_MARKS[finding.state], finding.about, finding.says, finding.do)
        console.print(table)
    if not ok:
        raise typer.Exit(1)


_MARKS = {"good": "[green]good", "warning": "[yellow]look", "bad": "[red]bad"}
