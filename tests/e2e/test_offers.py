"""What a member answers to an offer, from the door to the CRM: worker and CRM sink together on the real broker."""

from tests.builders import program
from tests.connectors.benches import BENCHES
from tests.connectors.ground import ground
from tests.connectors.line import SinkWorker
from tests.e2e.harness import until
from tests.tills import desk, opt_in, sale

CARD = "card:ABC123"


def answer(command_id, at, result, offer="spring-coffee"):
    return desk("offer_response", command_id, "H-1", at, offer=offer, result=result)


async def test_the_first_answer_to_an_offer_is_one_row_in_the_crm_and_stays_so(installed):
    system = await installed(program())
    async with ground(BENCHES["dataverse"], clock="data") as crm:
        sink = SinkWorker(system.settings, crm, "sink").start()
        system.workers.append(sink)
        await system.worker().ready()
        await sink.ready()
        await system.ask(opt_in("H-1", system.at, CARD))

        first = answer("app-1", system.wait(hours=1).at, "accepted")
        origin, again = await system.member(first), await system.member(first)
        assert await system.reply(origin) == await system.reply(again)
        assert [await system.outcome(one) for one in (origin, again)] == ["applied", "repeated"]
        other = await system.ask(answer("app-2", system.wait(hours=1).at, "rejected"))
        assert (other.status, other.code) == ("refused", "OFFER_ANSWERED")
        await system.ask(answer("app-3", system.wait(hours=1).at, "rejected", "autumn-tea"))
        await system.ask(sale("s1", [500], system.wait(hours=1).at, CARD))

        await until(lambda: len(crm.keys("H-1")) == len(system.events("H-1")) == 4, "the CRM has all that happened")
        answers = [seen.properties for seen in crm.sandbox.events() if seen.name == "offer_result"]
        told = [(row["loy_offer"], row["loy_result"]) for row in answers]
        assert told == [("spring-coffee", "accepted"), ("autumn-tea", "rejected")]
    await system.prove()
