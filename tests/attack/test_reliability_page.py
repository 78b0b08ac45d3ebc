"""docs/reliability.md states how many cases there are."""

import re
from pathlib import Path

from attack import test_arrays, test_conditions, test_images, test_models, test_names, test_options, test_records

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
FAMILIES = {
    "arrays": test_arrays.test_arrays,
    "images": test_images.test_images,
    "models": test_models.test_models,
    "conditions": test_conditions.test_conditions,
    "options": test_options.test_options,
    "names": test_names.test_names,
    "records": test_records.test_records,
}
LEAST = 500


def test_the_page_states_how_many_cases_there_are() -> None:
    counts = {name: test.cases for name, test in FAMILIES.items()}
    assert sum(counts.values()) >= LEAST
    rows = [f"| {name} | {count:,} |" for name, count in {**counts, "all": sum(counts.values())}.items()]
    table = "\n".join(["| family | cases |", "| --- | --: |", *rows])
    assert table in PAGE.read_text(), f"the page should hold\n{table}"


def test_the_page_names_what_is_there() -> None:
    for name in re.findall(r"(?:tests|benchmarks)/[\w/.]+\w", PAGE.read_text()):
        assert (PAGE.parents[1] / name).exists(), name
