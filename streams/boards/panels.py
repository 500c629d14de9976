"""What boards are made of: a few words over Grafana's own kit, so that every board is read like a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Literal

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH = 24
FIGURE_HEIGHT, GRAPH_HEIGHT = 4, 8
Queries = Mapping[str, str]
"""By legend: PromQL."""


@dataclass(frozen=True, slots=True)
class Panel:
    """A figure (one number) or a graph. Units as Grafana names them. Red from `bad` on, or under `bad_below`."""

    title: str
    about: str
    queries: Queries
    unit: str = "short"
    kind: Literal["figure", "graph"] = "graph"
    bad: float | None = None
    bad_below: float | None = None
    stacked: bool = False


@dataclass(frozen=True, slots=True)
class Variable:
    """Something to choose: the values of a label."""

    name: str
    label: str
    metric: str
    multiple: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """One page of panels, in rows with a title."""

    uid: str
    title: str
    about: str
    rows: Sequence[tuple[str, Sequence[Panel]]]
    variables: Sequence[Variable] = ()
    hours: int = 3


def figure(
    title: str, query: str, about: str, unit: str = "short", *, bad: float | None = None, bad_below: float | None = None
) -> Panel:
    """One number, with what it was before as a shadow."""
    return Panel(title, about, {"": query}, unit, "figure", bad, bad_below)


def graph(
    title: str, about: str, queries: Queries, unit: str = "short", *, bad: float | None = None, stacked: bool = False
) -> Panel:
    """Lines over time."""
    return Panel(title, about, queries, unit, "graph", bad, None, stacked)


def printed(board: Board) -> str:
    """The board as Grafana imports it. The same board gives the same bytes."""
    return JSONEncoder(indent=1, sort_keys=True).encode(_dashboard(board)) + "\n"


def _dashboard(board: Board) -> object:
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.about)
        .tags(["loystream"])
        .refresh("30s")
        .time(f"now-{board.hours}h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    for variable in board.variables:
        made.with_variable(_variable(variable))
    number = 0
    for title, panels in board.rows:
        made.with_row(dashboard.Row(title).id(number := number + 1))
        for panel in panels:
            number += 1
            made.with_panel(_figure(panel, number, len(panels)) if panel.kind == "figure" else _graph(panel, number, len(panels)))
    return made.build()


def _variable(variable: Variable) -> dashboard.QueryVariable:
    made = (
        dashboard.QueryVariable(variable.name)
        .label(variable.label)
        .datasource(SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    )
    made.query(f"label_values({variable.metric}, {variable.name})")
    if variable.multiple:
        made.multi(True).include_all(True).all_value(".+")  # noqa: FBT003  # the kit's own way
    return made


def _width(panels: int) -> int:
    return WIDTH // min(panels, 8)


def _targets(panel: Panel) -> list[prometheus.Dataquery]:
    return [
        prometheus.Dataquery().expr(query).legend_format(legend).ref_id(ascii_uppercase[number]).exemplar(panel.unit == "s")
        for number, (legend, query) in enumerate(panel.queries.items())
    ]


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    steps = [Threshold(value=None, color="green")]
    if panel.bad is not None:
        steps.append(Threshold(value=panel.bad, color="red"))
    if panel.bad_below is not None:
        steps = [Threshold(value=None, color="red"), Threshold(value=panel.bad_below, color="green")]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _figure(panel: Panel, number: int, beside: int) -> stat.Panel:
    made = (
        stat.Panel().id(number).title(panel.title).description(panel.about).datasource(SOURCE).unit(panel.unit)
        .height(FIGURE_HEIGHT).span(_width(beside)).no_value("0").thresholds(_thresholds(panel))
        .graph_mode(looks.BigValueGraphMode.AREA).color_mode(looks.BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )  # fmt: skip
    for target in _targets(panel):
        made.with_target(target)
    return made


def _graph(panel: Panel, number: int, beside: int) -> timeseries.Panel:
    made = (
        timeseries.Panel().id(number).title(panel.title).description(panel.about).datasource(SOURCE).unit(panel.unit)
        .height(GRAPH_HEIGHT).span(_width(beside)).min(0).fill_opacity(12).line_width(1)
        .legend(common.VizLegendOptions().show_legend(True).placement(looks.LegendPlacement.BOTTOM).display_mode(looks.LegendDisplayMode.LIST))  # noqa: FBT003
        .tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI))
    )  # fmt: skip
    if panel.stacked:
        made.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL))
    if panel.bad is not None:
        made.thresholds(_thresholds(panel))
        made.thresholds_style(common.GraphThresholdsStyleConfig().mode(looks.GraphTresholdsStyleMode.LINE))
    for target in _targets(panel):
        made.with_target(target)
    return made
