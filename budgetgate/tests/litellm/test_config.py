"""The models of a configuration file, and files that are none."""

import io
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command

from budgetgate.litellm import config


def test_the_list_of_models_goes_to_the_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[object, bool]] = []

    def import_models(entries: Sequence[object], *, dry_run: bool, now: object) -> SimpleNamespace:
        given.append((entries, dry_run))
        refused = SimpleNamespace(position=1, model_name="b", reasons=("no", "price"))
        return SimpleNamespace(created=("a",), changed=(), unchanged=(), refused=(refused,))

    monkeypatch.setattr(config, "import_model_list", import_models)
    path = tmp_path / "config.yaml"
    path.write_text("model_list: [{model_name: a}, {model_name: b}]\ngeneral_settings: {master_key: sk-1234}\n")
    out = io.StringIO()
    call_command("import_litellm", "--config", str(path), "--dry-run", stdout=out)
    assert given == [([{"model_name": "a"}, {"model_name": "b"}], True)]
    assert out.getvalue().splitlines() == [
        "config.yaml: general_settings not brought: only model_list is",
        "model b (model_list[1]): not brought: no; price",
        "models: 1 created, 0 updated, 0 unchanged, 1 not brought",
        "nothing was written: this was a dry run",
    ]


@pytest.mark.parametrize("text", ["[", "- a", "!!python/object/apply:os.getcwd []", "model_list: {a: 1}", "\x00"])
def test_a_file_that_is_no_configuration_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(CommandError, match=r"config\.yaml"):
        call_command("import_litellm", "--config", str(path))


def test_something_to_read_is_needed(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="needed"):
        call_command("import_litellm")
    with pytest.raises(CommandError, match="No such file"):
        call_command("import_litellm", "--config", str(tmp_path / "none"))
