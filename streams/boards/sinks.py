"""Board: the sinks. What vendors have got, how late, and what holds it up."""

from streams.boards.panels import Board, Variable, figure, graph

RATE = "$__rate_interval"
THIS = 'sink=~"$sink"'
CALLS = f"rate(loy_sink_call_seconds_count{{{THIS}}}[{RATE}])"
ROLE = "* on (job, instance) group_left (role) loy_build_info"

BOARD = Board(
    uid="loystream-sinks",
    title="Loystream: sinks",
    about="Deliveries to marketing and CRM: outcomes, lateness, calls, limits.",
    variables=[Variable("sink", "Sink", "loy_sink_items_total", multiple=True)],
    rows=[
        (
            "At a glance",
            [
                figure(
                    "Delivered a second",
                    f'sum(rate(loy_sink_items_total{{{THIS},outcome="delivered"}}[{RATE}]))',
                    "Items that vendors have taken.",
                    "cps",
                ),
                figure(
                    "Within 60 s",
                    f'sum(rate(loy_sink_delivery_seconds_bucket{{{THIS},le="60.0"}}[1h]))'
                    f" / sum(rate(loy_sink_delivery_seconds_count{{{THIS}}}[1h]))",
                    "Of the last hour. Objective: 99 %.",
                    "percentunit",
                    bad_below=0.99,
                ),
                figure("Oldest event", f"max(loy_sink_age_seconds{{{THIS}}})", "Being delivered now.", "s", bad=60),
                figure(
                    "Rejected in an hour",
                    f'sum(increase(loy_sink_items_total{{{THIS},outcome="rejected"}}[1h]))',
                    "Kept as dead letters.",
                    bad=10,
                ),
                figure(
                    "Halted", f"sum(loy_sink_halted{{{THIS}}})", "Vendors that refuse our credentials or configuration.", bad=1
                ),
                figure("Failing", f"sum(loy_sink_breaker_open{{{THIS}}})", "Vendors that keep failing.", bad=1),
            ],
        ),
        (
            "Outcomes",
            [
                graph(
                    "Items a second",
                    "Again: to be repeated. Unknown: sent, the answer was lost. Skipped: history, never told.",
                    {"{{sink}} {{outcome}}": f"sum by (sink, outcome) (rate(loy_sink_items_total{{{THIS}}}[{RATE}])) > 0"},
                    "cps",
                    stacked=True,
                ),
                graph(
                    "Till to vendor",
                    "The slowest of a hundred events.",
                    {
                        "{{sink}}": "histogram_quantile(0.99, sum by (le, sink)"
                        f" (rate(loy_sink_delivery_seconds_bucket{{{THIS}}}[{RATE}])))"
                    },
                    "s",
                    bad=60,
                ),
                graph(
                    "Budget burn",
                    "How many times faster than allowed: 1 uses up the budget of 30 days in 30 days.",
                    {
                        f"{{{{sink}}}} {window}": f"loy:deliveries:late_ratio_rate{window}{{{THIS}}} / 0.01"
                        for window in ("5m", "1h", "6h")
                    },
                    bad=14.4,
                ),
            ],
        ),
        (
            "Calls and limits",
            [
                graph(
                    "Calls a second, by status",
                    "`lost` is no answer at all.",
                    {"{{sink}} {{operation}} {{status}}": f"sum by (sink, operation, status) ({CALLS})"},
                    "cps",
                ),
                graph(
                    "Time of a call",
                    "The slowest of twenty.",
                    {
                        "{{sink}} {{operation}}": "histogram_quantile(0.95, sum by (le, sink, operation)"
                        f" (rate(loy_sink_call_seconds_bucket{{{THIS}}}[{RATE}])))"
                    },
                    "s",
                ),
                graph(
                    "Share of the limit used",
                    "Near 1 the vendor's limit is what holds it up.",
                    {"{{sink}} {{operation}}": f"loy:sink_limit:saturation_rate5m{{{THIS}}}"},
                    "percentunit",
                    bad=0.9,
                ),
                graph(
                    "Waited for limits",
                    "Seconds of waiting in each second, of all calls together.",
                    {"{{sink}}": f"sum by (sink) (rate(loy_sink_limit_wait_seconds_total{{{THIS}}}[{RATE}]))"},
                    "s",
                ),
            ],
        ),
        (
            "Waiting",
            [
                graph(
                    "Events waiting",
                    "By sink.",
                    {"{{role}}": f'sum by (role) (loy_lag_records{{topic="loy.events"}} {ROLE})'},
                ),
                graph(
                    "Oldest waiting",
                    "Age of the oldest event not finished.",
                    {"{{role}}": f'max by (role) (loy_lag_seconds{{topic="loy.events"}} {ROLE})'},
                    "s",
                    bad=60,
                ),
                graph(
                    "Refused afterwards",
                    "What a vendor lists as refused after it had accepted it, in an hour.",
                    {"{{sink}}": f"sum by (sink) (increase(loy_sink_refused_later_total{{{THIS}}}[1h])) or vector(0)"},
                ),
            ],
        ),
    ],
)
