"""A `params.yaml` of an earlier version says what it lacks, in lines that make it whole when they are pasted."""

from pathlib import Path

import pytest
import yaml

from tasks.errors import ConfigurationError
from tasks.params import Params, load_params
from tasks.params.missing import lines_to_paste

DEFAULT = Path(__file__).parents[2] / "params.yaml"
BLOCKS = yaml.safe_load(DEFAULT.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "block", sorted(name for name, field in Params.model_fields.items() if field.is_required() and name != "sources")
)
def test_pasted_lines_of_a_missing_block_make_the_file_whole(tmp_path: Path, block: str) -> None:
    old = {name: values for name, values in BLOCKS.items() if name != block}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(old), encoding="utf-8")

    with pytest.raises(ConfigurationError) as refused:
        load_params(tmp_path / "params.yaml")
    reason, _, pasted = str(refused.value).partition("this version:\n\n")
    (tmp_path / "params.yaml").write_text(f"{yaml.safe_dump(old)}\n{pasted}", encoding="utf-8")

    assert f"`{block}` is missing" in reason
    assert load_params(tmp_path / "params.yaml") == load_params(DEFAULT)


def test_missing_lines_of_blocks_are_given_under_their_block(tmp_path: Path) -> None:
    old = BLOCKS | {
        "search": {name: value for name, value in BLOCKS["search"].items() if name not in ("mode", "fusion")},
        "example_gate": {"min_examples": 50, "rules": []},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(old), encoding="utf-8")

    with pytest.raises(ConfigurationError) as refused:
        load_params(tmp_path / "params.yaml")

    pasted = yaml.safe_load(str(refused.value).partition("this version:\n\n")[2])
    assert pasted == {
        "search": {name: BLOCKS["search"][name] for name in ("mode", "fusion")},
        "example_gate": {"max_quarantined_fraction": BLOCKS["example_gate"]["max_quarantined_fraction"]},
    }


def test_without_the_default_file_the_names_are_all_there_is(tmp_path: Path) -> None:
    assert lines_to_paste([("search",)], tmp_path / "params.yaml") == ""


def test_file_whose_values_are_wrong_is_given_nothing_to_paste(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(BLOCKS | {"search": BLOCKS["search"] | {"top_k": -1}}))
    with pytest.raises(ConfigurationError) as refused:
        load_params(tmp_path / "params.yaml")
    assert "\n" not in str(refused.value)
