"""Board: the business now. What members get, what we owe them, what is refused, and whether it is right."""

from streams.boards.panels import Board, figure, graph

RATE = "$__rate_interval"
OWED = 'book=~"available|pending|held|reserved"'
DECIDED = 'loy_outcomes_total{type=~"sale|return|void|redeem"}'

BOARD = Board(
    uid="loystream-business",
    title="Loystream: business now",
    about="Checks, points and what is owed. All figures are of all workers together.",
    rows=[
        (
            "At a glance",
            [
                figure(
                    "Checks a second",
                    f'sum(rate(loy_outcomes_total{{type=~"sale|return|void"}}[{RATE}]))',
                    "Receipts decided.",
                    "cps",
                ),
                figure(
                    "Answered within 2 s",
                    'sum(rate(loy_answer_seconds_bucket{door=~"check|redemption",le="2.0"}[1h]))'
                    ' / sum(rate(loy_answer_seconds_count{door=~"check|redemption"}[1h]))',
                    "Of the last hour. Objective: 99.9 %.",
                    "percentunit",
                    bad_below=0.999,
                ),
                figure(
                    "Owed to members",
                    "loy:liability:points",
                    "Points available, pending, held and reserved: the liability.",
                    "short",
                ),
                figure("Accounts wrong", "sum(loy_ledger_imbalance)", "Accounts whose books do not add up. Must be 0.", bad=1),
                figure(
                    "Held for review",
                    "sum(max by (partition) (loy_fraud_holds))",
                    "Accounts with points held for suspected fraud.",
                ),
                figure(
                    "Oldest unanswered", "loy:oldest_check:age_seconds", "Age of the oldest record not finished.", "s", bad=30
                ),
            ],
        ),
        (
            "Checks and redemptions",
            [
                graph(
                    "Decided, by type and outcome",
                    "Applied: the account changed. Repeated: answered once more. Refused and parked: see the codes.",
                    {"{{type}} {{outcome}}": f"sum by (type, outcome) (rate({DECIDED}[{RATE}])) > 0"},
                    "cps",
                    stacked=True,
                ),
                graph(
                    "Answers other than OK, by code",
                    "docs/codes.md says what each means.",
                    {"{{code}}": f"sum by (code) (rate(loy_refusals_total[{RATE}]))"},
                    "cps",
                ),
                graph(
                    "Could not be taken, by code",
                    "Dead letters of the doors: `loy dead-letters list`.",
                    {"{{topic}} {{code}}": f'sum by (topic, code) (rate(loy_dead_letters_total{{topic!~"loy[.].*"}}[{RATE}]))'},
                    "cps",
                ),
            ],
        ),
        (
            "Points",
            [
                graph(
                    "Points a minute",
                    "Earned: out of issued. Burned, expired, taken back: into their books.",
                    {
                        "earned": f'60 * sum(rate(loy_points_total{{source="issued"}}[{RATE}]))',
                        "burned": f'60 * sum(rate(loy_points_total{{target="used"}}[{RATE}]))',
                        "expired": f'60 * sum(rate(loy_points_total{{target="expired"}}[{RATE}]))',
                        "taken back": f'60 * sum(rate(loy_points_total{{target="reversed"}}[{RATE}]))',
                    },
                ),
                graph(
                    "What is owed, by book",
                    "Available can be used now, pending later, held after a review, reserved is set aside at a till.",
                    {"{{book}}": f"sum by (book) (max by (book, partition) (loy_balance_points{{{OWED}}}))"},
                    stacked=True,
                ),
                graph(
                    "What members owe",
                    "Points of returns whose points were spent already.",
                    {"debt": '-sum(max by (partition) (loy_balance_points{book="debt"}))'},
                ),
            ],
        ),
        (
            "Members",
            [
                graph(
                    "Accounts by status",
                    "In: members. Out: opted out. Receipt: receipts that nobody has claimed.",
                    {"{{status}}": "sum by (status) (max by (status, partition) (loy_accounts))"},
                ),
                graph(
                    "Events a minute",
                    "By type.",
                    {"{{type}}": f"60 * sum by (type) (rate(loy_events_total[{RATE}])) > 0"},
                    stacked=True,
                ),
                graph(
                    "Held for review",
                    "How long the oldest points have waited for a person. Days are too long.",
                    {"oldest": "max(loy_fraud_hold_age_seconds)"},
                    "s",
                    bad=3 * 86_400,
                ),
            ],
        ),
    ],
)
