"""Compared methods: a label such as `joint` or `meta-gf:granularity=channel` names a method and its options.

    METHOD[:KEY=VALUE[,KEY=VALUE…]]

A key is an option of the method or, where the method has none of that name, a setting of `training.fit` for
this contender alone, such as `joint:lr=0.05`. Settings that make runs comparable (the data, the model, the
length and the seed) cannot be set so. Method names may hold a colon themselves, as in `torchjd:UPGrad`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.config import FitConfig
from training.data.config import DataConfig
from training.errors import ConfigError
from training.methods import method_options

COMMON = (frozenset(DataConfig.model_fields) - {"alternate_flip", "border", "max_shift"}) | {
    *("model", "model_option", "method", "method_option", "epochs", "max_minutes", "seed"),
    *("exits", "pretrained", "threads", "device"),
}
"""Settings that all contenders share."""


@dataclass(frozen=True)
class MethodEntry:
    """One column of the report.

    Args:
        label: as the user wrote it.
        method: name of the method.
        method_option: the method's options, as text.
        settings: settings of `training.fit` that only this contender has, as text.
    """

    label: str
    method: str
    method_option: Mapping[str, str]
    settings: Mapping[str, str]

    @property
    def folder_name(self) -> str:
        """The label as a part of a path.

        >>> read_contender("meta-gf:granularity=channel").folder_name
        'meta-gf+granularity=channel'
        """
        return re.sub(r"[^\w.=,+-]", "_", self.label.replace(":", "+"))


def read_contender(label: str) -> MethodEntry:
    """Read a label.

    Raises:
        ConfigError: an unknown method, option or setting, or words that are no `key=value`.
    """
    method, colon, words = label.rpartition(":")
    if not colon or "=" not in words:
        method, words = label, ""
    known = type(method_options(method)).model_fields
    options: dict[str, str] = {}
    settings: dict[str, str] = {}
    for word in filter(None, words.split(",")):
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise ConfigError(f"--methods {label}: expected key=value, found {word!r}")
        if key in known:
            options[key] = value
        elif key in COMMON:
            raise ConfigError(f"--methods {label}: {key} is the same for all methods that are compared")
        elif key in FitConfig.model_fields:
            settings[key] = value
        else:
            raise ConfigError(
                f"--methods {label}: {method} has no option {key!r} (known: {', '.join(known) or 'none'}), "
                "and training.fit no such setting"
            )
    method_options(method, options)
    return MethodEntry(label, method, options, settings)


def read_contenders(labels: Sequence[str]) -> tuple[MethodEntry, ...]:
    """Read all labels.

    Raises:
        ConfigError: one cannot be read, or two would share a folder.
    """
    contenders = tuple(map(read_contender, labels))
    seen: dict[str, str] = {}
    for contender in contenders:
        if contender.folder_name in seen:
            raise ConfigError(
                f"--methods: {seen[contender.folder_name]!r} and {contender.label!r} would share a folder: "
                "name each once"
            )
        seen[contender.folder_name] = contender.label
    return contenders
