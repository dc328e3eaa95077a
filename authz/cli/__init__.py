"""The command line, `caregrant`: parse the arguments, call one function, print. Exit 0: done, 1: refused, 2: usage.

The commands read the clock and the settings, and pass both on. Each group of commands is a module.
"""

import sys

import click

from authz.cli import (  # noqa: F401 - they add their commands to `audit` and `policy`
    audit_ask,
    policy_diff,
    policy_rollout,
    policy_testing,
)
from authz.cli.audit import audit
from authz.cli.clients import client
from authz.cli.decisions import check, what, who
from authz.cli.facts import demo, import_command, migrate_command
from authz.cli.notebooks import notebooks_command
from authz.cli.options import setting
from authz.cli.policy import policy
from authz.cli.serving import serve_command
from authz.cli.tokens import token
from authz.errors import CaregrantError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="caregrant", prog_name="caregrant")
@setting("database")
@setting("policies")
def caregrant(**_settings: str | None) -> None:
    """Decide who may view, share or transfer a patient, by policies; record and explain each decision.

    Start with `caregrant migrate` and `caregrant demo`, then ask, for example,
    `caregrant check practitioner:alice view patient:p-1 --explain`. --database and --policies may also come after the
    command.
    """


for command in (
    migrate_command,
    demo,
    import_command,
    check,
    who,
    what,
    policy,
    client,
    token,
    audit,
    notebooks_command,
    serve_command,
):
    caregrant.add_command(command)


def main() -> None:
    """Run the command line; an error of Caregrant is one clear line on standard error, and exit 1."""
    try:
        caregrant(standalone_mode=False)
    except CaregrantError as error:
        click.echo(f"caregrant: {error}", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        click.echo("caregrant: stopped", err=True)
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
