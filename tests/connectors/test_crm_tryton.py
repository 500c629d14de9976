"""The CRM port on a real Tryton: what holds with software that none of us wrote, its unique key and its real errors."""

import asyncio
import contextlib
import itertools

import httpx
import pytest
import yaml

from connectors import registry
from connectors.configuration import MAPPINGS, ConfigurationError
from connectors.courier import Courier, Patience
from connectors.crm import interaction_key
from connectors.delivery import ProfileChange
from connectors.mapping import MappingError
from schemas.events import EVENTS
from tests.connectors.ground import SOON, Ears, change, happening, person, person_of, until

pytestmark = pytest.mark.timeout(120)
NUMBERS = itertools.count(1)
MECHANISM = [f"contact_mechanisms.{name}" for name in ("type", "name", "value", "comment")]


@pytest.fixture
def server(tryton):
    return tryton


@pytest.fixture
def member():
    """An id that no other test uses."""
    return f"T-{next(NUMBERS):04d}"


class Line:
    """A sink beside the real server."""

    def __init__(self, server, client):
        self.server = server
        self.client = client
        self.ears = Ears()
        self.patience = {**SOON, "timeout": 10.0}

    def environment(self, **settings):
        given = {"adapter": "tryton", "base_url": self.server.url, "database": "loy", "key": self.server.key, "rate": "1000"}
        return {f"LOY_CRM_{name.upper()}": str(value) for name, value in (given | settings).items()}

    def courier(self, **settings):
        return Courier(registry.SINKS["crm"](self.environment(**settings)), self.client, self.ears, Patience(**self.patience))

    async def deliver(self, *items, courier=None):
        """As the worker does; what was rejected comes back."""
        rejected = []
        courier = courier or self.courier()
        async with asyncio.timeout(30):
            await courier.prepare()
            await courier.deliver(items, lambda item, why: rejected.append((item, why)))
        return rejected

    def parties(self, member):
        domain = [["code", "=", member], ["active", "in", [True, False]]]
        fields = ("name", "code", "active", "categories.rec_name", "addresses.postal_code", *MECHANISM)
        return self.server.find("party.party", domain, *fields)

    def party(self, member):
        (one,) = self.parties(member)
        return one

    def notes(self, *members):
        """In the order of their making, those of each member together."""
        parties = {one["code"]: one["id"] for one in self.server.find("party.party", [["code", "in", members]], "code")}
        held = {f"party.party,{parties[member]}": [] for member in members}
        for note in self.server.find("ir.note", [["resource", "in", list(held)]], "message", "resource"):
            held[note["resource"]].append(note["message"])
        return [message for messages in held.values() for message in messages]


@pytest.fixture
async def line(server):
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=20)) as client:
        yield Line(server, client)


def tags(party):
    return {one["rec_name"] for one in party["categories"]}


def mechanisms(party):
    return {one["type"]: one["value"] for one in party["contact_mechanisms"] if one["type"] != "other"}


def card(party):
    (one,) = [one for one in party["contact_mechanisms"] if one["type"] == "other"]
    return one["value"], dict(row.split(": ", 1) for row in (one["comment"] or "").splitlines())


def mapped(tmp_path, **fields):
    """A mapping file with other targets for these fields."""
    raw = yaml.safe_load((MAPPINGS / "tryton.yaml").read_text())
    raw["fields"] |= fields
    path = tmp_path / "mapping.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


# ---------------------------------------------------------------- the contract


async def test_a_repeated_member_leaves_one_party_and_writes_nothing(line, member):
    courier = line.courier()
    assert await line.deliver(change(member), courier=courier) == []
    first = line.party(member)
    calls = line.ears.calls.total()
    assert await line.deliver(change(member), courier=courier) == []
    assert line.ears.calls.total() == calls + 4  # looks at the columns of two tables, at the party, at the tags
    assert line.party(member) == first


async def test_a_repeated_event_leaves_one_note(line, member):
    one = happening(member)
    for _ in range(3):
        assert await line.deliver(change(member), one) == []
    (note,) = line.notes(member)
    assert note.endswith(f"\n[evt {interaction_key(one.event_id)}]")
    assert note.startswith("Earned points\n")
    assert f"Points: {one.data['points']}" in note.splitlines()


async def test_an_offer_has_one_result_for_each_member_whatever_event_tells_of_it(line, member):
    first, second = (happening(member, "LOY_OFFER_RESULT", data={"offer": "spring", "result": "rejected"}) for _ in range(2))
    assert first.event_id != second.event_id
    assert await line.deliver(change(member), first) == []
    assert await line.deliver(second) == []
    (note,) = line.notes(member)
    assert note.startswith("Answered an offer\n")
    assert {"Offer: spring", "Result: rejected"} <= set(note.splitlines())


@pytest.mark.parametrize("version", [lambda n: 1, lambda n: n], ids=["of one version", "of many versions"])
async def test_of_twelve_first_sights_at_once_one_party_is_left_and_all_are_delivered(line, member, version):
    changes = [change(member, version=version(n), available_points=n) for n in range(1, 13)]
    rejected = await asyncio.gather(*(line.deliver(one) for one in changes))
    assert rejected == [[]] * 12
    assert line.ears.outcomes["delivered"] == 12
    assert line.ears.calls["api", "400"] > 0, "they did not race"
    party = line.party(member)
    assert mechanisms(party) == {"email": f"{member.lower()}@example.com", "mobile": changes[0].person.contact["phone"]}
    assert len(party["contact_mechanisms"]) == 3
    assert card(party)[0] == f"Version {version(12)}"
    if version(12) == 12:
        assert card(party)[1]["Available points"] == "12"


async def test_twelve_at_once_with_one_event_leave_one_note(line, member):
    one = happening(member)
    await line.deliver(change(member))
    assert await asyncio.gather(*(line.deliver(one) for _ in range(12))) == [[]] * 12
    assert len(line.notes(member)) == 1


async def test_a_server_that_is_killed_in_mid_stream_loses_nothing(line):
    members = [f"K-{n:03d}" for n in range(40)]
    changes = [change(member) for member in members]
    happenings = [happening(member, kind) for kind in ("LOY_OPT_IN", "LOY_POINT_ACCRUAL") for member in members]
    courier = line.courier(batch=5)
    delivering = asyncio.create_task(line.deliver(*changes, *happenings, courier=courier))
    await until(lambda: line.ears.outcomes["delivered"] >= 50, "half of it")
    line.server.kill()
    await until(lambda: line.ears.outcomes["again"] + line.ears.outcomes["unknown"] >= 20, "it has tried in vain")
    assert not delivering.done()
    line.server.start()
    assert await delivering == []
    assert line.ears.outcomes["delivered"] == 120
    assert line.ears.halts == []
    expected = [interaction_key(one.event_id) for one in sorted(happenings, key=lambda one: one.person.loyalty_id)]
    assert [note.rpartition("[evt ")[2].rstrip("]") for note in line.notes(*members)] == expected


async def test_a_stale_version_does_not_overwrite_a_newer_one(line, member):
    await line.deliver(change(member, version=7, current_tier="Gold", available_points=700))
    before = line.party(member)
    assert await line.deliver(change(member, version=6, current_tier="Silver", available_points=1)) == []
    assert line.ears.outcomes["stale"] == 1
    assert line.party(member) == before
    await line.deliver(change(member, version=7, current_tier="Gold", available_points=701))
    assert card(line.party(member)) == ("Version 7", card(before)[1] | {"Available points": "701"})


async def test_of_versions_written_at_once_the_newest_stands(line, member):
    await line.deliver(change(member, version=1))
    changes = [change(member, version=n, current_tier=f"Tier {n}", available_points=n) for n in range(2, 10)]
    assert await asyncio.gather(*(line.deliver(one) for one in changes)) == [[]] * 8
    party = line.party(member)
    version, lines = card(party)
    assert (version, lines["Available points"]) == ("Version 9", "9")
    assert tags(party) == {"Loyalty / Active member", "Loyalty / Opted in", "Loyalty / Tier / Tier 9"}


# ---------------------------------------------------------------- what a party shows


async def test_a_member_is_a_party_with_tags_mechanisms_address_and_card(line, member):
    await line.deliver(change(member, version=3, current_tier="Gold", opt_in_status=True, available_points=1250))
    party = line.party(member)
    assert (party["name"], party["code"]) == ("Ann Lee", member)
    assert tags(party) == {"Loyalty / Active member", "Loyalty / Opted in", "Loyalty / Tier / Gold"}
    assert mechanisms(party)["email"] == f"{member.lower()}@example.com"
    assert [one["postal_code"] for one in party["addresses"]] == ["SW1A 1AA"]
    assert card(party)[0] == "Version 3"
    assert card(party)[1]["Available points"] == "1250"
    assert card(party)[1]["Birthday"] == "1990-05-14"


async def test_what_is_delivered_is_what_is_read(line, member):
    whole, bare = change(member), change(f"{member}-b", next_tier=None, available_rewards=[], opt_in_status=False)
    courier = line.courier()
    await line.deliver(whole, bare, courier=courier)
    held = await courier.run(courier.sink.read([member, f"{member}-b", "NOBODY"]))
    assert held["NOBODY"] is None
    for one in (whole, bare):
        expected = courier.sink.expected(one)
        read = held[one.person.loyalty_id]
        assert {name: read[name] for name in expected} == expected


async def test_a_changed_address_and_tier_take_the_place_of_the_old_ones(line, member):
    await line.deliver(change(member, current_tier="Gold"))
    moved = person(member, version=2, current_tier="Silver", contact=None)
    contact = person(member).contact | {"email": "new@example.com", "zip_code": "N1", "phone": None}
    await line.deliver(ProfileChange(person_of(member, contact, moved.profile, 2), moved=True))
    party = line.party(member)
    assert mechanisms(party) == {"email": "new@example.com"}
    assert [one["postal_code"] for one in party["addresses"]] == ["N1"]
    assert "Loyalty / Tier / Silver" in tags(party)
    assert "Loyalty / Tier / Gold" not in tags(party)


async def test_who_leaves_loses_the_tag_and_the_note_says_so(line, member):
    await line.deliver(change(member, opt_in_status=True))
    out = happening(member, "LOY_OPT_OUT", number=2, opt_in_status=False, active_status=False)
    await line.deliver(change(member, version=2, opt_in_status=False, active_status=False), out)
    assert {"Loyalty / Opted in", "Loyalty / Active member"}.isdisjoint(tags(line.party(member)))
    assert line.notes(member)[0].startswith("Left the loyalty program\n")


async def test_an_erased_member_keeps_nothing_but_the_code_and_an_old_version_of_it_is_not_in_the_way(line, member):
    await line.deliver(change(member, version=9))
    assert await line.deliver(change(member, version=0, erased=True)) == []
    party = line.party(member)
    assert (party["name"], tags(party), mechanisms(party)) == (None, set(), {})
    assert [one["postal_code"] for one in party["addresses"]] == [None]
    assert card(party) == ("Version 9", {})
    assert await line.deliver(change(member, version=0, erased=True)) == []
    await line.deliver(change(member, version=10))
    assert line.party(member)["name"] == "Ann Lee"


async def test_what_people_wrote_into_the_party_stays(line, server, member):
    own = server.ask("POST", "party.category", {"name": f"VIP {member}"})["id"]
    mail = {"type": "email", "value": "by-hand@example.com"}
    values = {"code": member, "name": "A. Lee", "categories": [["add", [own]]], "contact_mechanisms": [["create", [mail]]]}
    server.ask("POST", "party.party", values)
    await line.deliver(change(member))
    await line.deliver(change(member, erased=True, version=2))
    party = line.party(member)
    assert tags(party) == {f"VIP {member}"}
    assert mechanisms(party) == {"email": "by-hand@example.com"}


async def test_an_archived_party_is_left_alone_but_erased_all_the_same(line, server, member):
    await line.deliver(change(member))
    server.ask("PUT", f"party.party/{line.party(member)['id']}", {"active": False})
    ((_, why),) = await line.deliver(change(member, version=2))
    assert why.code == "ARCHIVED"
    assert line.party(member)["name"] == "Ann Lee"
    assert await line.deliver(change(member, version=3, erased=True)) == []
    party = line.party(member)
    assert (party["active"], party["name"], mechanisms(party)) == (False, None, {})


async def test_every_event_becomes_a_note_in_the_order_of_its_member(line, member):
    happenings = [happening(member, kind) for kind in EVENTS]
    assert await line.deliver(change(member), *happenings) == []
    marks = [note.splitlines()[-1] for note in line.notes(member)]
    keys = [interaction_key(one.event_id) for one in happenings if one.type != "LOY_OFFER_RESULT"]
    assert [mark for mark in marks if mark in {f"[evt {key}]" for key in keys}] == [f"[evt {key}]" for key in keys]
    assert len(marks) == len(happenings)


async def test_an_event_of_a_member_that_tryton_does_not_have_brings_the_member(line, member):
    assert await line.deliver(happening(member, number=4)) == []
    assert line.party(member)["name"] == "Ann Lee"
    assert len(line.notes(member)) == 1


async def test_a_tag_that_somebody_deleted_is_made_anew(line, server, member):
    courier = line.courier()
    await line.deliver(change(member, current_tier="Onyx"), courier=courier)
    (onyx,) = server.find("party.category", [["name", "=", "Onyx"]], "name")
    server.ask("DELETE", f"party.category/{onyx['id']}")
    assert await line.deliver(change(f"{member}-b", current_tier="Onyx"), courier=courier) == []
    assert "Loyalty / Tier / Onyx" in tags(line.party(f"{member}-b"))


async def test_a_user_who_may_keep_parties_and_no_more_is_enough(line, server, member):
    courier = line.courier(key=server.key_of_a_user("loystream", "Party Administration"))
    one = happening(member)
    for _ in range(2):
        assert await line.deliver(change(member), one, happening(member, "LOY_OPT_IN"), courier=courier) == []
    assert len(line.notes(member)) == 3
    await line.deliver(change(member, version=9, erased=True), courier=courier)
    assert (line.party(member)["name"], tags(line.party(member))) == (None, set())


# ---------------------------------------------------------------- errors


async def test_a_rule_of_tryton_rejects_that_member_alone_with_its_words(line, member):
    bad = person(member)
    bad = person_of(member, bad.contact | {"first_name": "Ann\nLee"}, bad.profile, 1)
    ((item, why),) = await line.deliver(change(f"{member}-a"), ProfileChange(bad), change(f"{member}-b"))
    assert item.person is bad
    assert why.code == "400"
    assert "invalid chars" in why.words
    assert (len(line.parties(f"{member}-a")), len(line.parties(member)), len(line.parties(f"{member}-b"))) == (1, 0, 1)


async def test_a_column_that_does_not_exist_halts_the_sink_before_anything_is_sent(line, member, tmp_path):
    mapping = mapped(tmp_path, current_tier={"to": "loy_tier"})
    delivering = asyncio.create_task(line.deliver(change(member), courier=line.courier(mapping=mapping)))
    await until(lambda: line.ears.halts, "it halts")
    await ended(delivering)
    assert line.ears.halts[0] == "party.party has no loy_tier"
    assert line.parties(member) == []


async def test_a_column_that_is_gone_later_halts_the_sink_too_and_loses_nothing(line, member, tmp_path):
    mapping = mapped(tmp_path, current_tier={"to": "loy_tier"})
    delivering = asyncio.create_task(line.deliver(change(member), courier=line.courier(mapping=mapping, check="false")))
    await until(lambda: line.ears.halts, "it halts")
    await ended(delivering)
    assert line.ears.halts[0] == "party.party has no loy_tier"
    assert line.ears.outcomes["rejected"] == 0


async def test_a_row_at_which_the_server_fails_is_given_up_while_others_go_on(line, member, tmp_path):
    mapping = mapped(tmp_path, current_tier={"to": "lang"})  # a reference to a language: Tryton answers 500 to a word
    courier = line.courier(mapping=mapping)
    bad, good = change(member, current_tier="Gold"), change(f"{member}-b", current_tier=None)
    ((item, why),) = await line.deliver(bad, good, courier=courier)
    assert item is bad
    assert (why.code, "500" in why.words) == ("GIVEN_UP", True)
    assert line.party(f"{member}-b")["name"] == "Ann Lee"


async def test_a_key_that_is_not_valid_halts_the_sink(line, member):
    delivering = asyncio.create_task(line.deliver(change(member), courier=line.courier(key="0" * 64)))
    await until(lambda: line.ears.halts, "it halts")
    await ended(delivering)
    assert line.ears.halts[0].startswith("401")


async def test_a_database_that_does_not_exist_halts_the_sink(line, member):
    delivering = asyncio.create_task(line.deliver(change(member), courier=line.courier(database="nowhere")))
    await until(lambda: line.ears.halts, "it halts")
    await ended(delivering)
    assert "database" in line.ears.halts[0]


async def ended(task):
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({"to": "nowhere.tier"}, "is neither a column nor in"),
        ({"to": "mechanism.pigeon"}, "is none of phone"),
        ({"to": "tag.Tier"}, "its type is boolean"),
    ],
)
def test_a_mapping_says_what_is_wrong_with_a_target(tmp_path, target, words):
    settings = {"adapter": "tryton", "base_url": "http://127.0.0.1:1", "database": "loy", "key": "k"}
    settings |= {"mapping": str(mapped(tmp_path, current_tier=target))}
    with pytest.raises(MappingError, match=words):
        registry.SINKS["crm"]({f"LOY_CRM_{name.upper()}": value for name, value in settings.items()})


def test_settings_that_are_missing_are_named():
    with pytest.raises(ConfigurationError, match="LOY_CRM_KEY"):
        registry.SINKS["crm"]({"LOY_CRM_ADAPTER": "tryton", "LOY_CRM_BASE_URL": "https://x.example", "LOY_CRM_DATABASE": "loy"})
