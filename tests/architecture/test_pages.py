"""Pages drawn from the code are the ones that are committed, and every link leads somewhere."""

import re
from pathlib import Path

import pytest
from scripts.draw_settings import page

ROOT = Path(__file__).parents[2]
PAGES = sorted(p for p in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def test_the_settings_page_is_the_one_the_code_draws() -> None:
    committed = (ROOT / "docs/reference/settings.md").read_text()
    assert page() == committed, "run: python scripts/draw_settings.py > docs/reference/settings.md"


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_of_a_page_leads_to_a_file(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text())
    missing = [
        link
        for link in links
        if not link.startswith(("http://", "https://")) and not (path.parent / link).exists()
    ]
    assert missing == []


def test_the_readme_names_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert "make demo" in text
    assert "make test" in text


def test_every_promise_of_security_names_tests_that_there_are() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    promises = text.partition("## What Apollo promises")[2].partition("\n## ")[0]
    bullets = promises.split("\n- ")[1:]
    assert len(bullets) > 10
    for bullet in bullets:
        parts = re.split(r"`(tests/[\w/]+\.py)`", bullet)
        assert len(parts) > 1, f"no test: {bullet}"
        for file, said in zip(parts[1::2], parts[2::2], strict=True):
            code = (ROOT / file).read_text()
            for name in re.findall(r"\btest_\w+", said):
                assert f"def {name}(" in code, f"{file} has no {name}"
