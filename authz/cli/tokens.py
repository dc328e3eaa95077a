"""`token`: a practitioner's token, in development."""

import click

from authz.cli.options import now, settings


@click.command()
@click.argument("login")
@click.option("--ttl", default=3600, show_default=True, type=click.IntRange(1, 86_400), help="Seconds that it is good.")
def token(login: str, ttl: int) -> None:
    """Sign a token for the practitioner LOGIN with the key of CAREGRANT_DEVELOPMENT_KEY. Development only."""
    from authz.callers.tokens import sign_token  # noqa: PLC0415 - no other command needs cryptography

    click.echo(sign_token(settings(), login, now(), ttl))
