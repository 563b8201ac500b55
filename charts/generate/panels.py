"""Kinds of panels, and how a dashboard is laid out of them. Used by charts/generate/*_rows.py and dashboard.py.

The builders of Grafana's own SDK make the JSON: mypy holds every option, unit and threshold against the model of the
dashboard, where a dict would be believed. What this module adds is our one way to draw each kind of thing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from grafana_foundation_sdk.builders import common as c
from grafana_foundation_sdk.builders import dashboard as d
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from charts.generate.promql import BY_STEP

WIDTH: Final = 24  # of Grafana's grid
GREEN, YELLOW, ORANGE, RED, BLUE, GREY = "green", "yellow", "orange", "red", "blue", "text"

T = TypeVar("T")
Steps: TypeAlias = Sequence[tuple[float | None, str]]
"""Thresholds: from this value on, this colour; the first has None."""

SOURCE: Final = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")


@dataclass(frozen=True)
class Row:
    """Panels under a headline; those of a ``closed`` row are asked for when somebody opens it."""

    title: str
    panels: Sequence[Panel]
    closed: bool = True


# --- kinds of panels ------------------------------------------------------------------------------------------


class Panel(Protocol):
    """One of the kinds below."""

    def build(self) -> dashboard.Panel:
        """In Grafana's words; it has a size, and no place yet."""
        ...


@dataclass(frozen=True)
class Number:
    """One number over the time that is shown, or as it is now (``live``); ``none``: what stands for no series."""

    title: str
    why: str
    expression: str
    unit: str = "short"
    steps: Steps = ((None, BLUE),)
    width: int = 4
    none: str = "0"
    live: bool = False

    def build(self) -> dashboard.Panel:
        """A stat panel."""
        panel = (
            stat.Panel()
            .grid_pos(dashboard.GridPos(h=4, w=self.width))
            .unit(self.unit)
            .thresholds(_thresholds(self.steps))
            .color_scheme(d.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
            .no_value(self.none)
            .graph_mode(common.BigValueGraphMode.AREA if self.live else common.BigValueGraphMode.NONE)
            .color_mode(common.BigValueColorMode.VALUE)
            .reduce_options(c.ReduceDataOptions().calcs(["lastNotNull"]))
            .with_target(_query(self.expression, self.title, "A", instant=not self.live))
        )
        if self.unit == "short":
            panel.decimals(0)
        return _named(panel.build(), self)


@dataclass(frozen=True)
class Lines:
    """Lines over time: ``expressions`` by their legends. ``stacked``: parts of a whole. ``top`` ends the axis."""

    title: str
    why: str
    expressions: Mapping[str, str]
    unit: str = "short"
    steps: Steps = ()
    width: int = 8
    stacked: bool = False
    top: float | None = None

    def build(self) -> dashboard.Panel:
        """A time series panel."""
        return _named(self._drawn().build(), self)

    def _drawn(self) -> timeseries.Panel:
        panel = (
            timeseries.Panel()
            .grid_pos(dashboard.GridPos(h=8, w=self.width))
            .unit(self.unit)
            .min(0)
            .line_width(1)
            .fill_opacity(30 if self.stacked else 5)
            .show_points(common.VisibilityMode.NEVER)
            .legend(_legend())
            .tooltip(c.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
            .targets([self._asked(each, legend, ref) for ref, legend, each in _lettered(self.expressions)])
        )
        if self.stacked:
            panel.stacking(c.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
        if self.top is not None:
            panel.max(self.top)
        if self.steps:
            panel.thresholds(_thresholds(self.steps))
            panel.thresholds_style(c.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED))
        return panel

    def _asked(self, expression: str, legend: str, ref: str) -> prometheus.Dataquery:
        return _query(expression, legend, ref)


@dataclass(frozen=True)
class Bars(Lines):
    """Counts of what is rare: ``events``."""

    stacked: bool = True

    def _asked(self, expression: str, legend: str, ref: str) -> prometheus.Dataquery:
        return super()._asked(expression, legend, ref).interval(BY_STEP)

    def _drawn(self) -> timeseries.Panel:
        return super()._drawn().draw_style(common.GraphDrawStyle.BARS).fill_opacity(80)


@dataclass(frozen=True)
class States:
    """What state each thing was in, and since when: ``words`` and colours of the values 0, 1, 2 and so on."""

    title: str
    why: str
    expression: str
    legend: str
    words: Sequence[tuple[str, str]]
    width: int = 24

    def build(self) -> dashboard.Panel:
        """A state timeline."""
        steps = [(None if number == 0 else number, colour) for number, (_, colour) in enumerate(self.words)]
        panel = (
            statetimeline.Panel()
            .grid_pos(dashboard.GridPos(h=8, w=self.width))
            .unit("short")
            .mappings([dashboard.ValueMap(options=_words(self.words))])
            .color_scheme(d.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
            .thresholds(_thresholds(steps))
            .merge_values(merge_values=True)
            .show_value(common.VisibilityMode.AUTO)
            .fill_opacity(80)
            .line_width(0)
            .legend(_legend())
            .with_target(_query(self.expression, self.legend, "A"))
        )
        return _named(panel.build(), self)


@dataclass(frozen=True)
class Heat:
    """How a histogram's values were spread, over time: ``expression`` is ``events`` by ``le``."""

    title: str
    why: str
    expression: str
    unit: str = "s"
    width: int = 8

    def build(self) -> dashboard.Panel:
        """A heatmap."""
        panel = (
            heatmap.Panel()
            .grid_pos(dashboard.GridPos(h=8, w=self.width))
            .y_axis(heatmap.YAxisConfig().unit(self.unit))
            .color(heatmap.HeatmapColorOptions().scheme("Spectral").steps(64).reverse(reverse=True))
            .cell_gap(1)
            .with_target(_query(self.expression, "{{le}}", "A", form=PromQueryFormat.HEATMAP).interval(BY_STEP))
        )
        return _named(panel.build(), self)


@dataclass(frozen=True)
class Sheet:
    """A table with a line for each value of ``label``: ``columns`` are (expression by that label, unit) by headline."""

    title: str
    why: str
    label: str
    columns: Mapping[str, tuple[str, str]]
    width: int = 24

    def build(self) -> dashboard.Panel:
        """A table whose queries are merged into one."""
        panel = table.Panel().grid_pos(dashboard.GridPos(h=8, w=self.width)).unit("short")
        names = {self.label: self.label}
        for ref, headline, (expression, unit) in _lettered(self.columns):
            panel.with_target(_query(expression, headline, ref, instant=True, form=PromQueryFormat.TABLE))
            panel.override_by_name(headline, [dashboard.DynamicConfigValue("unit", unit)])
            names[f"Value #{ref}"] = headline
        order = {name: number for number, name in enumerate(names)}
        arranged = {"excludeByName": {"Time": True}, "indexByName": order, "renameByName": names}
        for name, options in (("merge", {}), ("organize", arranged)):
            panel.with_transformation(dashboard.DataTransformerConfig(id_val=name, options=options))
        return _named(panel.build(), self)


class _Titled(Protocol):
    @property
    def title(self) -> str: ...
    @property
    def why(self) -> str: ...


def _named(panel: dashboard.Panel, kind: _Titled) -> dashboard.Panel:
    panel.title, panel.description, panel.datasource = kind.title, kind.why, SOURCE
    return panel


def _lettered(things: Mapping[str, T]) -> Iterator[tuple[str, str, T]]:
    """(reference of the query, name, thing)."""
    for ref, (name, thing) in zip(ascii_uppercase, things.items(), strict=False):
        yield ref, name, thing


def _query(
    expression: str,
    legend: str,
    ref: str,
    *,
    instant: bool = False,
    form: PromQueryFormat = PromQueryFormat.TIME_SERIES,
) -> prometheus.Dataquery:
    query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(ref).format(form).datasource(SOURCE)
    return query.instant() if instant else query.range()


def _thresholds(steps: Steps) -> d.ThresholdsConfig:
    found = [dashboard.Threshold(value, color) for value, color in steps]
    return d.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(found)


def _words(words: Iterable[tuple[str, str]]) -> dict[str, dashboard.ValueMappingResult]:
    return {
        str(number): dashboard.ValueMappingResult(text=text, color=color, index=number)
        for number, (text, color) in enumerate(words)
    }


def _legend() -> c.VizLegendOptions:
    return (
        c.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(show_legend=True)
    )


# --- variables and marks --------------------------------------------------------------------------------------


def source_variable() -> d.DatasourceVariable:
    """Which Prometheus."""
    return d.DatasourceVariable("datasource").label("Data source").type("prometheus")


def label_variable(name: str, query: str) -> d.QueryVariable:
    """Values of a label: any number of them, and all to begin with."""
    every = dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
    return (
        d.QueryVariable(name)
        .label(name)
        .datasource(SOURCE)
        .query(query)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(every)
    )


def mark(name: str, expression: str, colour: str) -> d.AnnotationQuery:
    """Moments that are marked in every panel."""
    return d.AnnotationQuery().name(name).datasource(SOURCE).enable(enable=True).icon_color(colour).expr(expression)


# --- layout ---------------------------------------------------------------------------------------------------


def place(board: d.Dashboard, rows: Sequence[Row]) -> dashboard.Dashboard:
    """The finished dashboard: panels from left to right, and below each other where a line is full."""
    made = board.build()
    made.panels = []
    top, number = 0, 0
    for row in rows:
        number += 1
        panels = [panel.build() for panel in row.panels]
        bottom = _flow(panels, top + 1)
        line = dashboard.RowPanel(
            title=row.title, id_val=number, collapsed=row.closed, grid_pos=dashboard.GridPos(h=1, w=WIDTH, x=0, y=top)
        )
        for panel in panels:
            number += 1
            panel.id_val = number
        line.panels = panels if row.closed else []
        made.panels += [line, *([] if row.closed else panels)]
        top = top + 1 if row.closed else bottom
    return made


def _flow(panels: Iterable[dashboard.Panel], top: int) -> int:
    """Give each panel its place; returns where the next row begins."""
    left = height = 0
    for panel in panels:
        assert panel.grid_pos is not None  # noqa: S101 - every kind above has a size
        if left + panel.grid_pos.w > WIDTH:
            left, top, height = 0, top + height, 0
        panel.grid_pos.x, panel.grid_pos.y = left, top
        left += panel.grid_pos.w
        height = max(height, panel.grid_pos.h)
    return top + height


def plain(made: Any) -> Any:
    """The JSON of a dashboard, as Python has it."""
    import json

    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    return json.loads(json.dumps(made, cls=JSONEncoder))
