"""The command line of every command, made from one pydantic model by pydantic-settings.

A field of the model is a flag: `batch_size` becomes `--batch-size`; `CliPositionalArg` makes it positional. A
list takes several words (`--exits a b c`), a dictionary words of the form `key=value`. A value that no flag
gives is read from a variable (`OFFRAMP_FIT_BATCH_SIZE`), then from the TOML file that `--config` names.
"""

from serving.command_line.fields import choices
from serving.command_line.naming import SettingsValueError, flag, program
from serving.command_line.parsing import add_arguments
from serving.command_line.running import EXTRAS, leave, run
from serving.command_line.values import Given, given, read

__all__ = [
    "EXTRAS",
    "Given",
    "SettingsValueError",
    "add_arguments",
    "choices",
    "flag",
    "given",
    "leave",
    "program",
    "read",
    "run",
]
