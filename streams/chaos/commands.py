"""`loy chaos` and `loy fuzz`, as `loy` registers them."""

from typing import Annotated

import typer

from streams.chaos.schedule import Kind
from streams.shell import console, run, settings_of

Seed = Annotated[int, typer.Option(help="The same seed makes the same faults and the same records.")]


def chaos(
    minutes: Annotated[float, typer.Option(min=0.1, help="How long faults strike; each kind comes once in any case.")] = 2.0,
    seed: Seed = 1,
    workers: Annotated[int, typer.Option(min=1, max=8, help="How many workers.")] = 3,
    only: Annotated[Kind | None, typer.Option(help="No fault but this kind.")] = None,
    keep: Annotated[bool, typer.Option(help="Keep the logs of brokers and workers, also when all was well.")] = False,  # noqa: FBT002
) -> None:
    """Three brokers and some workers under faults, tills that misbehave; every account judged by a second ledger.

    Exit code 1 when anything was lost or doubled, or an account is not what it should be.
    """
    from streams.chaos.run import chaos as torment  # noqa: PLC0415

    report = run(torment(console, settings_of(), seed=seed, minutes=minutes, workers=workers, only=only, keep=keep))
    console.print(report.render())
    if not report.ok:
        raise typer.Exit(1)


def fuzz(
    inputs: Annotated[int, typer.Option(min=100, help="How many inputs.")] = 1_000_000,
    seed: Seed = 1,
) -> None:
    """Broken records through intake and ledger, in memory: no exception escapes, and each is accounted for.

    Exit code 1 at the first that fails, with the record and how to have it again.
    """
    from streams.chaos.fuzz import fuzz as damage  # noqa: PLC0415

    fuzzed = run(damage(seed, inputs))
    console.print(fuzzed.render())
    if not fuzzed.ok:
        raise typer.Exit(1)
