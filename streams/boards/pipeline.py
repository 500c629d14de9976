"""Board: the pipeline. Is everything in time, and where does it wait?"""

from streams.boards.panels import Board, Panel, figure, graph

RATE = "$__rate_interval"
WINDOWS = ("5m", "1h", "6h", "3d")


def _quantiles(title: str, about: str, metric: str, label: str) -> Panel:
    """Half and the slowest of a hundred, by a label."""
    return graph(
        title,
        about,
        {
            f"p{share} {{{{{label}}}}}": f"histogram_quantile(0.{share}, sum by (le, {label}) (rate({metric}_bucket[{RATE}])))"
            for share in (50, 99)
        },
        "s",
    )


def _burn(title: str, objective: str, budget: float) -> Panel:
    """How many times faster than allowed the error budget burns."""
    return graph(
        title,
        "1 uses up the budget of 30 days in 30 days. 14.4 over an hour, or 6 over six hours, pages.",
        {window: f"loy:{objective}:late_ratio_rate{window} / {budget}" for window in WINDOWS},
        bad=14.4,
    )


BOARD = Board(
    uid="loystream-pipeline",
    title="Loystream: pipeline",
    about="From the till to the event: latency, lag, batches, recovery, and the budget of errors.",
    rows=[
        (
            "At a glance",
            [
                figure("Processes ready", "sum(loy_ready)", "Those whose /readyz says yes."),
                figure("Not ready", "count(loy_ready == 0) or vector(0)", "Restoring, sharing out, or without a broker.", bad=1),
                figure("Stuck", "count(loy_healthy == 0) or vector(0)", "Those whose /healthz says no.", bad=1),
                figure("Records waiting", "sum(loy_lag_records)", "Of all topics and groups."),
                figure(
                    "Oldest",
                    'max(loy_lag_seconds{topic!="loy.backlog"})',
                    "Age of the oldest record not finished, sinks included; late checks may wait.",
                    "s",
                    bad=60,
                ),
                figure(
                    "Partitions unowned",
                    "sum(loy:partitions:wanted - (loy:partitions:owned or loy:partitions:wanted * 0))",
                    "Nobody works on them now.",
                    bad=1,
                ),
            ],
        ),
        (
            "In time",
            [
                _quantiles(
                    "Till to answer", "Until the reply is acknowledged; backlog: late checks.", "loy_answer_seconds", "door"
                ),
                _quantiles("To the event", "Since the till's sending, and since the Kafka time.", "loy_event_seconds", "since"),
                _burn("Budget burn: answers", "answers", 0.001),
                _burn("Budget burn: events", "events", 0.001),
            ],
        ),
        (
            "Waiting",
            [
                graph(
                    "Lag in seconds",
                    "Age of the oldest record not finished.",
                    {"{{topic}}": "max by (topic) (loy_lag_seconds)"},
                    "s",
                    bad=30,
                ),
                graph("Lag in records", "By topic.", {"{{topic}}": "sum by (topic) (loy_lag_records)"}),
                graph(
                    "Uncommitted",
                    "For how long finished work has not been committed.",
                    {"{{topic}}": "max by (topic) (loy_commit_age_seconds)"},
                    "s",
                    bad=60,
                ),
            ],
        ),
        (
            "Stages",
            [
                graph(
                    "Records a second",
                    "By stage.",
                    {"{{stage}}": f"sum by (stage) (rate(loy_records_total[{RATE}]))"},
                    "cps",
                ),
                _quantiles("Time of a batch", "Acknowledgement included.", "loy_batch_seconds", "stage"),
                graph(
                    "Records of a batch",
                    "On average. Full batches mean a backlog.",
                    {
                        "{{stage}}": f"sum by (stage) (rate(loy_batch_records_sum[{RATE}]))"
                        f" / sum by (stage) (rate(loy_batch_records_count[{RATE}]))"
                    },
                ),
                _quantiles("Age when done", "Of all records of a stage, since their sending.", "loy_record_seconds", "stage"),
            ],
        ),
        (
            "Groups and tables",
            [
                graph(
                    "Rebalances",
                    "How often partitions were shared out anew, within 15 minutes.",
                    {"{{instance}}": "increase(loy_rebalances_total[15m])"},
                ),
                graph(
                    "Still to restore",
                    "Changelog records.",
                    {"{{instance}}": "sum by (instance) (loy_recovery_remaining_records)"},
                ),
                graph("Rows", "As the stores estimate them.", {"{{table}}": "sum by (table) (loy_state_rows)"}),
                graph("State", "Files and memory.", {"{{table}}": "sum by (table) (loy_state_bytes)"}, "bytes"),
            ],
        ),
        (
            "Clock and reference data",
            [
                graph(
                    "Accounts with something due",
                    "Expiry, release, reviews of tiers: what the clock watches.",
                    {"due": "sum(loy_due_accounts)"},
                ),
                graph("Ticks a second", "Commands of the clock.", {"ticks": f"sum(rate(loy_ticks_total[{RATE}]))"}, "cps"),
                graph(
                    "Unreadable programs and identities",
                    "The version of before stands.",
                    {"errors": "sum(increase(loy_reference_errors_total[15m])) or vector(0)"},
                    bad=1,
                ),
            ],
        ),
    ],
)
