"""The command `serve`: the production server."""

import click

from authz.cli.options import PORT, setting, settings


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8000, show_default=True, type=PORT, help="The port to listen on.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 256), help="How many processes answer.")
@setting("database")
@setting("policies")
@setting("decision_log")
@setting("fsync")
def serve_command(host: str, port: int, workers: int, **options: str | bool | None) -> None:
    """Serve decisions over HTTP until SIGTERM or Ctrl-C."""
    from api.server import serve  # noqa: PLC0415 - only serving needs Flask

    serve(settings(**options), host, port, workers)
