"""Progress of long work: a count of rows on standard error, on a terminal only."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@contextmanager
def row_counter(label: str) -> Iterator[Callable[[int], object]]:
    """Show a label and a number of rows while the block runs; yield the function that sets the number."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn(label), TextColumn("{task.completed:,.0f} rows"), TimeElapsedColumn())
    hidden = not console.is_terminal
    # Without a thread that refreshes: what runs meanwhile may start processes.
    with Progress(*columns, console=console, disable=hidden, transient=True, auto_refresh=False) as progress:
        task = progress.add_task(label, total=None)
        progress.refresh()
        yield lambda rows: progress.update(task, completed=rows, refresh=True)
