"""Tables in JupyterLab that can be sorted, filtered and scrolled, by itables; its script is in the notebook itself.

The output of a cell then has two forms: the table with its script, and a plain table (`PLAIN`) for a page without
scripts.
"""

from functools import cache

import pandas as pd
from itables import to_html_datatable
from itables.javascript import generate_init_offline_itables_html
from itables.utils import find_package_file

from authz.audit.reports.tables import MOST_COLUMNS, arrange, format_cell, heading

PLAIN = "application/vnd.caregrant.plain+html"
"""The kind of output that holds the plain form of a table."""

_ROWS_A_PAGE = 15
_STYLE = "<style>.dt-container tfoot input { width: 100%; min-width: 4rem; box-sizing: border-box; }</style>"


@cache
def datatable_script() -> str:
    """Return the script that a notebook needs once, before its first table."""
    return generate_init_offline_itables_html(find_package_file("html", "dt_bundle.js")) + _STYLE


def as_interactive(frame: pd.DataFrame, most: int) -> str:
    """Return the first rows of a frame as a table; a button shows the columns beyond the tenth."""
    arranged, note = arrange(frame, most)
    texts = pd.DataFrame(
        {heading(name): [format_cell(name, value) for value in column] for name, column in arranged.head(most).items()},
        dtype="str",
    )
    hidden = list(range(MOST_COLUMNS, len(texts.columns)))
    table = to_html_datatable(
        texts,
        connected=False,
        showIndex=False,
        scrollX=True,
        column_filters="footer",
        layout={
            "topStart": "buttons" if hidden else None,
            "topEnd": "search",
            "bottomStart": "info",
            "bottomEnd": "paging" if len(texts) > _ROWS_A_PAGE else None,
        },
        buttons=[{"extend": "colvis", "text": "Columns"}] if hidden else [],
        columnDefs=[{"className": "dt-left", "targets": "_all"}, {"visible": False, "targets": hidden}],
        lengthMenu=[_ROWS_A_PAGE, 50, 100, 500],
        maxBytes=0,
        maxRows=0,
        maxColumns=0,
        display_logo_when_loading=False,
        warn_on_undocumented_option=False,
        warn_on_unexpected_option_type=False,
    )
    return f"{table}{note}"
