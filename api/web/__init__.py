"""The practitioner's pages, as the help page tells them (H1–H7): server-rendered, and whole without script.

`frame` is what every page shares, `wording` what things are called; each other module is one subject.
"""

from flask import Flask

from api.web import clinic, frame, notices, patients, share, sharing, sign_in, transfer, wording
from api.web.frame import pages
from api.web.refusals import refusal


def install(app: Flask) -> None:
    """Add the pages to an application."""
    frame.install(app)
    wording.install(app)
    app.register_blueprint(pages)


__all__ = ["clinic", "install", "notices", "pages", "patients", "refusal", "share", "sharing", "sign_in", "transfer"]
