"""A version of a program is published once and never changed."""

from datetime import timedelta

import pytest

from streams.publishing import PublishError, publish, published
from tests.builders import program


async def test_a_version_is_published_once(history, topic_prefix):
    bootstrap = history[0].bootstrap
    first = program(program=f"{topic_prefix}p")
    assert await publish(bootstrap, first)
    assert not await publish(bootstrap, first)
    assert (await published(bootstrap))[first.key] == first


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"title": "Other"}, "was published with other contents: give the change a new version"),
        ({"version": 1}, "is there already: versions only go up"),
        ({"version": 3, "effective_from": "2009-01-01T00:00:00Z"}, "takes effect later, on 2010-01-01"),
        ({"version": 3, "currency": "EUR"}, "counts USD: a program keeps its currency"),
    ],
)
async def test_history_is_not_rewritten(history, topic_prefix, change, why):
    bootstrap = history[0].bootstrap
    name = f"{topic_prefix}p"
    await publish(bootstrap, program(program=name, version=2))
    with pytest.raises(PublishError, match=why):
        await publish(bootstrap, program(**{"program": name, "version": 2} | change))
    assert [known for known in await published(bootstrap) if known.startswith(name)] == [f"{name}@2"]


async def test_a_new_version_may_take_effect_with_the_one_before_or_later(history, topic_prefix):
    bootstrap = history[0].bootstrap
    first = program(program=f"{topic_prefix}p")
    await publish(bootstrap, first)
    assert await publish(bootstrap, first.model_copy(update={"version": 2}))
    later = first.effective_from + timedelta(days=1)
    assert await publish(bootstrap, first.model_copy(update={"version": 3, "effective_from": later}))


def test_the_command_says_what_it_did(history, tmp_path, topic_prefix):
    system, *_ = history
    name = f"{topic_prefix}q"
    file = tmp_path / "program.json"
    file.write_text(program(program=name).model_dump_json(exclude_defaults=True))
    assert system.loy("program", "publish", str(file)).stdout == f"{name}@1 published.\n"
    assert system.loy("program", "publish", str(file)).stdout == f"{name}@1 was there already, unchanged.\n"
    assert f"{name}@1  from 2010-01-01T00:00:00+00:00  Test\n" in system.loy("program", "list").stdout
    file.write_text(program(program=name, title="Other").model_dump_json(exclude_defaults=True))
    refused = system.loy("program", "publish", str(file))
    assert refused.returncode == 2
    assert refused.stderr == f"loy: {name}@1 was published with other contents: give the change a new version\n"
