"""The command line: `almanac …`. Each command calls a flow or a task; a module holds one group of commands.

Heavy imports stand inside the commands, so that help answers at once.
"""

import logging
import os
import sys
import warnings

import typer

from cli import (
    advise,
    ask,
    audit,
    backup,
    forget,
    keys,
    lineage,
    monitor,
    quarantine,
    refresh,
    releases,
    retrain,
    review,
    servers,
    show,
    status,
    tune,
)
from tasks.errors import AlmanacError, DependencyError
from tasks.settings import Settings, log_to_stderr, quiet_environment
from tasks.tenant_claim import check_home

app = typer.Typer(
    name="almanac",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Keep an AI assistant right: knowledge fresh, model retrained, every change gated, versioned and reversible.",
)
for group in (refresh, ask, retrain, advise, releases, servers, show, status, tune):
    app.add_typer(group.app)
for group in (monitor, lineage, audit, forget, backup):
    app.add_typer(group.app)
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(review.app, name="review")
app.add_typer(keys.app, name="keys")


def main() -> None:
    """Run a command; an error of ours is one line on standard error and an exit code that says its kind."""
    try:
        quiet_environment()
        _keep_files_private()
        _set_up_logging()
        Settings().layout.check_format()
        check_home(Settings())
        app()
    except AlmanacError as error:
        typer.echo(f"almanac: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if not error.filename:  # of no file: what failed is not known here
            raise
        reason = f"{error.filename} must be a file that can be read and written, found: {error.strerror}"
        typer.echo(f"almanac: {reason}; correct its owner, restore it, or free space, and run again", err=True)
        sys.exit(DependencyError.exit_code)


def _keep_files_private() -> None:
    """Let every file of this process, and of those that it starts, be its owner's alone.

    A folder that machines share may be written by users of several names: there the machine's own rule holds.
    """
    store = Settings().store
    if store is None or "://" in store:
        os.umask(0o077)


def _set_up_logging() -> None:
    settings = Settings()
    log_to_stderr(settings, settings.log.upper())
    # A run's own lines, with tracebacks, go to the Prefect server; a person gets bars and one line.
    for name in ("prefect.flow_runs", "prefect.task_runs", "prefect.events", "EventsWorker"):
        logging.getLogger(name).propagate = False
    logging.raiseExceptions = False
    warnings.filterwarnings("ignore", message="Failed to create the Prefect home")
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
