"""Nothing outside the given folders is reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.demo.folders import inside, refuse_links


@pytest.fixture
def given(tmp_path: Path) -> Path:
    for name in ("given/runs/one", "secret"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    return tmp_path / "given/runs"


@pytest.mark.parametrize("name", ["runs/one", "one", "runs/one/", "./one"])
def test_a_folder_below_is_found(given: Path, name: str) -> None:
    label, folder = inside(name, {"runs": given})
    assert (label, folder.resolve()) == ("runs", (given / "one").resolve())


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../../secret", r"with \.\. is refused"),
        ("runs/../../../secret", r"with \.\. is refused"),
        ("one/../../../secret", r"with \.\. is refused"),
        ("one\\..\\..\\secret", r"with \.\. is refused"),
        ("/etc", "absolute path is refused"),
        ("runs//etc", "no such folder"),
        ("C:\\secret", "absolute path is refused"),
        ("\\\\server\\secret", "absolute path is refused"),
        ("~/secret", "absolute path is refused"),
        ("", "Give the name of a folder"),
        ("one\0", "Give the name of a folder"),
        ("other", "no such folder below runs"),
        ("x" * 5000, "no such folder"),
    ],
)
def test_other_names_are_refused(given: Path, name: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        inside(name, {"runs": given})


def test_an_absolute_path_is_refused_even_where_it_leads_into_the_folder(given: Path) -> None:
    with pytest.raises(ValueError, match="absolute path is refused"):
        inside(str(given / "one"), {"runs": given})


def test_links_out_are_refused(given: Path) -> None:
    (given / "linked").symlink_to(given.parents[1] / "secret")
    with pytest.raises(ValueError, match="a link out of the given folder is refused"):
        inside("linked", {"runs": given})
    with pytest.raises(ValueError, match="a link out"):
        inside("linked/config.json", {"runs": given})
    (given / "one/weights").symlink_to(given.parents[1] / "secret/config.json")
    with pytest.raises(ValueError, match="weights: a link out"):
        refuse_links(given / "one", given)


def test_links_within_and_the_given_folder_itself_may_be_links(given: Path) -> None:
    (given / "again").symlink_to(given / "one")
    assert inside("again", {"runs": given})[1] == given / "again"
    whole = given.with_name("whole")
    whole.symlink_to(given)
    assert inside("one", {"whole": whole})[1] == whole / "one"
    refuse_links(whole / "one", whole)


@pytest.mark.parametrize("aim", ["circle", "none"])
def test_links_that_lead_nowhere_are_refused(given: Path, aim: str) -> None:
    (given / "circle").symlink_to(aim)
    with pytest.raises(ValueError, match="circle: a link that leads nowhere"):
        inside("circle", {"runs": given})
    (given / "one/circle").symlink_to(aim)
    with pytest.raises(ValueError, match="circle: a link that leads nowhere"):
        refuse_links(given / "one", given)
