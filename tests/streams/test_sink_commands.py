"""What `loy sandbox` says is enough to start a sink beside it, and its page shows what arrived."""

import asyncio
import io
import re
import shlex

import httpx
import pytest
from rich.console import Console

from connectors import registry
from connectors.sandbox import SANDBOXES
from streams import sink_commands, sink_tools
from tests.connectors.ground import change, happening
from tests.processes import until


def settings_in(said):
    """What a shell would export."""
    words = (shlex.split(line) for line in said.splitlines() if line.startswith("export "))
    return dict(assignment.split("=", 1) for _, assignment in words)


@pytest.mark.parametrize("name", sorted(SANDBOXES))
async def test_a_sandbox_says_where_it_is_and_how_a_sink_finds_it(name):
    out = io.StringIO()
    serving = asyncio.create_task(sink_commands.sandbox(Console(file=out, width=80), name, 0, "wall"))
    try:
        await until(lambda: "loy sink" in out.getvalue() or serving.done(), "it says so")
        said = out.getvalue()
        sink = registry.build(re.search(r"^loy sink (\w+)$", said, re.MULTILINE)[1], settings_in(said))
        refused = []
        async with sink_tools.courier_of(sink, share=1) as courier:
            await courier.deliver([change("H-1", first=True), happening("H-1")], lambda *why: refused.append(why))
        assert refused == []
        async with httpx.AsyncClient() as browser:
            page = (await browser.get(re.search(rf"^{name} answers at (http://\S+):", said)[1])).text
        assert "H-1" in page
        assert "1 people" in page
        assert "1 events" in page
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def test_there_is_no_sandbox_of_any_other_name():
    with pytest.raises(ValueError, match="there is no sandbox 'mars': say dataverse, infobip"):
        await sink_commands.sandbox(Console(), "mars", 0, "wall")
