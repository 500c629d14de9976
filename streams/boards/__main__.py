"""Write the boards to deploy/grafana, or with `--check` say which of them are not as the code makes them (exit code 1)."""

import sys
from pathlib import Path

from streams.boards import business, pipeline, process, sinks
from streams.boards.panels import printed

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"
BOARDS = {"business": business.BOARD, "pipeline": pipeline.BOARD, "sinks": sinks.BOARD, "process": process.BOARD}


def main(words: list[str]) -> int:
    """Answers the exit code."""
    made = {FOLDER / f"{name}.json": printed(board) for name, board in BOARDS.items()}
    stale = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    if "--check" in words:
        for path in stale:
            sys.stderr.write(f"{path.name} is not what the code makes: run `make boards`\n")
        return bool(stale)
    FOLDER.mkdir(exist_ok=True)
    for path in stale:
        path.write_text(made[path])
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
