"""LiteLLM's configuration file: its `model_list` becomes routes; what else it has is named and not brought."""

from datetime import datetime
from pathlib import Path

import yaml

from budgetgate.litellm.report import Report
from catalog.services import import_model_list

BYTES_MAX = 5_000_000


class ConfigError(Exception):
    """One line that says why the file cannot be used."""


def import_config(path: Path, *, report: Report, dry_run: bool, now: datetime) -> None:
    """Brings the models of a file. Raises ConfigError."""
    config = _read(path)
    entries = config.pop("model_list", None) or []
    if not isinstance(entries, list):
        raise ConfigError(f"{path}: model_list is no list")
    for section in sorted(map(str, config)):
        report.line(f"{path.name}: {section} not brought: only model_list is")
    models = import_model_list(entries, dry_run=dry_run, now=now)
    for refused in models.refused:
        report.line(
            f"model {refused.model_name} (model_list[{refused.position}]): not brought: {'; '.join(refused.reasons)}"
        )
    counts = {"created": models.created, "updated": models.changed, "unchanged": models.unchanged}
    told = ", ".join(f"{len(names)} {outcome}" for outcome, names in counts.items())
    report.line(f"models: {told}, {len(models.refused)} not brought")


def _read(path: Path) -> dict[object, object]:
    try:
        with path.open("rb") as file:
            text = file.read(BYTES_MAX + 1)
        if len(text) > BYTES_MAX:
            raise ConfigError(f"{path} is too large; allowed are {BYTES_MAX} bytes")
        config = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: no object with model_list")
    return config
