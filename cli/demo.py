"""`billingd demo`: the main job on the sample data, with an ERP that goes down in the middle."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.demonstration import Demo

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command("demo")
def demo(
    directory: Annotated[
        Path | None, typer.Option("--directory", help="Where it works; else a new folder among the temporary ones.")
    ] = None,
) -> None:
    """Bill the sample data with an embedded database and a fake ERP, which goes down for a while in the middle."""
    folder = directory or Path(tempfile.mkdtemp(prefix="billingd-demo-"))
    Demo(folder.absolute(), Console()).run()
