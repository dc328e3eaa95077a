"""Processes: the same function on many items, in order, in as many processes as wanted.

Each process makes what the function needs once, such as the databases of the stories.
"""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_processes(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    jobs: int,
    prepare: Callable[..., None],
    *arguments: object,
) -> Iterator[Result]:
    """Yield the result of each item, in order; `prepare(*arguments)` is called first in each process."""
    jobs = min(jobs, len(items))
    if jobs <= 1:
        prepare(*arguments)
        yield from map(function, items)
        return
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(jobs, context, initializer=prepare, initargs=arguments) as pool:
        yield from pool.map(function, items, chunksize=max(1, len(items) // (jobs * 8)))
