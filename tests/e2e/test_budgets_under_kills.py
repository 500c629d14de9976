"""A cap over all members, with two workers that are killed while it is used up: exactly the cap is granted, and proven."""

import asyncio

from schemas.topics import CHECKS, MEMBER_COMMANDS
from tests.builders import earning, program, rule
from tests.e2e.harness import until
from tests.tills import opt_in, sale, void

MEMBERS, CHECKS_EACH, GIVES, CAP = 30, 16, 7, 1500
BONUS = rule("check_bonus", "bonus", points=GIVES) | {"cap": {"points": CAP, "per": "month", "over": "program"}}
RULES = program(earning=earning(BONUS))


def card(n):
    return f"card:CARD{n:04}"


def spent(system):
    """Points of the rule that members have, and how often it was cut: told by events alone."""
    given = cuts = 0
    for n in range(MEMBERS):
        for event, data in system.events(f"H-{n}"):
            if event.type == "LOY_POINT_ACCRUAL":
                given += sum(award.points for award in data.awards if award.rule == "bonus")
                cuts += sum(cut.points for cut in data.cuts)
            elif event.type == "LOY_POINT_CUT":
                cuts += sum(cut.points for cut in data.cuts)
    return given, cuts


async def buy(system, checks):
    """Every check, one in five twice, never far ahead of the answers."""
    for at in range(0, len(checks), 20):
        bodies = [(card(n), sale(name, [1000], system.at, card(n))) for n, name in checks[at : at + 20]]
        await asyncio.gather(*(system.put(CHECKS.name, *one) for one in (*bodies, *bodies[::5])))
        await until(lambda: len(system.sent - system.answered) < 60, "the answers keep up")


async def test_B10_two_workers_and_kills_in_mid_stream_grant_exactly_the_cap(installed):
    system = await installed(RULES)
    workers = [system.worker("one"), system.worker("two")]
    await asyncio.gather(*(worker.ready() for worker in workers))
    await asyncio.gather(
        *(system.put(MEMBER_COMMANDS.name, f"H-{n}", opt_in(f"H-{n}", system.at, card(n))) for n in range(MEMBERS))
    )
    await system.all_answered()

    checks = [(n, f"c-{n}-{m}") for m in range(CHECKS_EACH) for n in range(MEMBERS)]
    buying = asyncio.create_task(buy(system, checks))
    for due, worker in ((150, workers[0]), (350, workers[1])):
        await until(lambda due=due: len(system.answered) >= due, f"{due} answers")
        assert not buying.done(), "the stream ended before the worker was killed"
        await worker.kill()
        worker.start()
    await buying
    await system.all_answered()
    wanted = len(checks) * GIVES
    await until(lambda: sum(spent(system)) >= wanted, lambda: f"all budgets' answers, not {spent(system)}")
    assert spent(system) == (CAP, wanted - CAP)

    # What comes back is granted to others, to the point.
    back = [(n, f"c-{n}-0") for n in range(MEMBERS)]
    await asyncio.gather(*(system.put(CHECKS.name, card(n), void(f"v-{n}", name, system.at, card(n))) for n, name in back))
    await system.all_answered()
    await system.quiet()
    await buy(system, [(n, f"d-{n}") for n in range(MEMBERS)])
    await system.all_answered()
    wanted += MEMBERS * GIVES
    await until(lambda: sum(spent(system)) >= wanted, lambda: f"all budgets' answers, not {spent(system)}")
    figures, _ = await system.prove()
    assert figures.points["available"] == len(checks) * 10 + CAP
