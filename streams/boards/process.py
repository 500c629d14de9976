"""Board: one process, to drill down to."""

from streams.boards.panels import Board, Variable, figure, graph

RATE = "$__rate_interval"
THIS = 'instance="$instance"'
BATCHES = f"rate(loy_batch_seconds_bucket{{{THIS}}}[{RATE}])"

BOARD = Board(
    uid="loystream-process",
    title="Loystream: one process",
    about="A worker or a sink from inside: health, resources, partitions, batches, tables.",
    variables=[Variable("instance", "Process", "loy_build_info")],
    hours=1,
    rows=[
        (
            "At a glance",
            [
                figure("Ready", f"loy_ready{{{THIS}}}", "/readyz says in words what is missing.", bad_below=1),
                figure("Healthy", f"loy_healthy{{{THIS}}}", "/healthz says in words what is stuck.", bad_below=1),
                figure("Heartbeat", f"loy_heartbeat_age_seconds{{{THIS}}}", "Since Kafka answered well.", "s", bad=10),
                figure("Loop delay", f"loy_loop_delay_seconds{{{THIS}}}", "Worst of ten seconds.", "s", bad=1),
                figure("Partitions", f"count(loy_lag_records{{{THIS}}})", "Of all topics it reads."),
                figure("Up for", f"time() - process_start_time_seconds{{{THIS}}}", "Since its start.", "s"),
            ],
        ),
        (
            "Resources",
            [
                graph("CPU", "Cores in use.", {"cores": f"rate(process_cpu_seconds_total{{{THIS}}}[{RATE}])"}),
                graph("Memory", "Resident.", {"resident": f"process_resident_memory_bytes{{{THIS}}}"}, "bytes"),
                graph("Open files", "RocksDB holds most of them.", {"open": f"process_open_fds{{{THIS}}}"}),
                graph(
                    "Garbage collections a second",
                    "By generation.",
                    {"generation {{generation}}": f"rate(python_gc_collections_total{{{THIS}}}[{RATE}])"},
                ),
            ],
        ),
        (
            "Partitions",
            [
                graph("Lag in records", "By partition.", {"{{topic}}/{{partition}}": f"loy_lag_records{{{THIS}}}"}),
                graph("Lag in seconds", "By partition.", {"{{topic}}/{{partition}}": f"loy_lag_seconds{{{THIS}}}"}, "s"),
                graph("Uncommitted", "By partition.", {"{{topic}}/{{partition}}": f"loy_commit_age_seconds{{{THIS}}}"}, "s"),
            ],
        ),
        (
            "Batches",
            [
                graph(
                    "Records a second",
                    "By stage.",
                    {"{{stage}}": f"rate(loy_records_total{{{THIS}}}[{RATE}])"},
                    "cps",
                ),
                graph(
                    "Time of a batch",
                    "The slowest of a hundred.",
                    {"{{stage}}": f"histogram_quantile(0.99, sum by (le, stage) ({BATCHES}))"},
                    "s",
                ),
                graph(
                    "Busy with batches",
                    "Seconds of batches in each second; partitions go side by side, so it may exceed 1.",
                    {"{{stage}}": f"rate(loy_batch_seconds_sum{{{THIS}}}[{RATE}])"},
                ),
            ],
        ),
        (
            "Tables and group",
            [
                graph("Rows", "By table and partition.", {"{{table}}/{{partition}}": f"loy_state_rows{{{THIS}}}"}),
                graph("State", "Files and memory.", {"{{table}}/{{partition}}": f"loy_state_bytes{{{THIS}}}"}, "bytes"),
                graph(
                    "Restoring",
                    "Changelog records to go, and restored a second.",
                    {
                        "to go": f"loy_recovery_remaining_records{{{THIS}}}",
                        "a second": f"rate(loy_recovery_restored_records_total{{{THIS}}}[{RATE}])",
                    },
                ),
                graph("Rebalances", "Since its start.", {"rebalances": f"loy_rebalances_total{{{THIS}}}"}),
            ],
        ),
    ],
)
