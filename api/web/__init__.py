"""The pages for practitioners and managers, as the help page describes them (H1–H7); they work without scripts.

`frame` is what every page shares, `wording` holds the sentences of the pages, `selection` the patients that a form is
about, `form_state` what a form showed, `days` the days; each other module is one subject.
"""

from flask import Flask

from api.web import (
    change_share,
    clinic,
    days,
    emergency,
    frame,
    history,
    members,
    notifications,
    patients,
    share,
    sharing,
    sign_in,
    states,
    transfer,
    undo,
    wording,
)
from api.web.frame import pages
from api.web.refusals import render_refusal


def install(app: Flask) -> None:
    """Add the pages to an application."""
    frame.install(app)
    wording.install(app)
    days.install(app)
    states.install(app)
    emergency.install(app)
    app.register_blueprint(pages)


__all__ = [
    "change_share",
    "clinic",
    "emergency",
    "history",
    "install",
    "members",
    "notifications",
    "pages",
    "patients",
    "render_refusal",
    "share",
    "sharing",
    "sign_in",
    "states",
    "transfer",
    "undo",
]
