"""Files of other folders taken in by `project.include`: names, paths, what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from procwatch.config import include
from procwatch.config.home import ignored, watched
from procwatch.config.load import Loaded, load
from procwatch.config.write import render
from procwatch.core.model import Need
from procwatch.errors import ConfigError
from tests.rig.live import write

MAIN = """
[project]
include = ["services/*/watch.toml"]
[service.db]
run = "db"
"""
SHOP = """
[build.gen]
run = "gen"
watch = ["src/**", "*.py", "../../lib", "./top.c"]
ignore = ["*.log"]
[service.api]
run = "api"
needs = ["gen", "db", { name = "service.helper" }]
env_file = ["api.env"]
[service.helper]
run = "helper"
autostart = false
[groups]
all = ["api", "build.gen"]
"""


def mono(folder: Path, main: str = MAIN, **parts: str) -> Path:
    write(folder / "watch.toml", main)
    for name, text in parts.items():
        write(folder / f"services/{name}/watch.toml", text)
    return folder


def loaded(folder: Path) -> Loaded:
    return load(folder, environ={})


def wrong(folder: Path) -> list[str]:
    """The first line of each problem."""
    with pytest.raises(ConfigError) as caught:
        loaded(folder)
    return [str(problem).splitlines()[0] for problem in caught.value.problems]


def test_units_are_named_after_their_folder_and_live_there(tmp_path: Path) -> None:
    write(tmp_path / "services/shop/api.env", "")
    project = loaded(mono(tmp_path, shop=SHOP)).project
    assert set(project.units) == {"build.shop.gen", "service.shop.api", "service.shop.helper", "service.db"}
    gen, api = project.builds["build.shop.gen"], project.services["service.shop.api"]
    assert gen.watch == ("services/shop/src/**", "services/shop/**/*.py", "lib", "services/shop/top.c")
    assert gen.ignore == ("services/shop/**/*.log",)
    assert (gen.dir, api.dir, project.services["service.db"].dir) == ("services/shop", "services/shop", ".")
    assert api.env_files == ("services/shop/api.env",)
    names = [need.name for need in api.needs]
    assert names == ["build.shop.gen", "service.db", "service.shop.helper"]
    assert project.groups == {
        "shop.all": ("service.shop.api", "build.shop.gen"),
        "shop": ("build.shop.gen", "service.shop.api"),
    }


def test_own_names_come_first_then_those_of_the_main_file(tmp_path: Path) -> None:
    text = '[service.web]\nrun = "x"\nneeds = ["db", "service.mail.web"]\n[service.db]\nrun = "x"\n'
    project = loaded(mono(tmp_path, shop=text, mail='[service.web]\nrun = "x"\n')).project
    assert project.services["service.shop.web"].needs == (
        Need("service.shop.db", restart=False),
        Need("service.mail.web", restart=False),
    )


def test_the_main_file_can_name_and_change_what_it_includes(tmp_path: Path) -> None:
    main = MAIN + 'needs = ["shop.gen"]\n[service."shop.api"]\nenv_file = ["common.env"]\nport = 80\n'
    write(tmp_path / "common.env", "")
    write(tmp_path / "watch.local.toml", '[service."shop.api"]\nport = 81\n')
    project = loaded(mono(tmp_path, main, shop=SHOP)).project
    api = project.services["service.shop.api"]
    assert (api.port, api.env_files, api.dir) == (81, ("common.env",), "services/shop")
    assert project.services["service.db"].needs[0].name == "build.shop.gen"


def test_defaults_hold_for_their_own_file_and_beat_those_of_the_main_one(tmp_path: Path) -> None:
    main = MAIN + '[defaults.service]\nstop = "SIGQUIT"\nenv = { A = "main" }\n'
    shop = '[defaults.service]\nstop = { grace = 3 }\nenv = { A = "shop" }\n[service.web]\nrun = "x"\n'
    services = loaded(mono(tmp_path, main, shop=shop, mail='[service.web]\nrun = "x"\n')).project.services
    assert [services[f"service.{name}"].env["A"] for name in ("shop.web", "mail.web", "db")] == ["shop", "main", "main"]
    assert (services["service.shop.web"].stop.signal, services["service.shop.web"].stop.grace_s) == ("SIGQUIT", 3.0)
    assert services["service.mail.web"].stop.grace_s == 10.0


@pytest.mark.parametrize(
    ("pattern", "folder", "name"),
    [
        ("services/*/watch.toml", "services/shop", "shop"),
        ("*/*/watch.toml", "services/shop", "services.shop"),
        ("services/shop/dev.toml", "services/shop", "shop"),
        ("./services//*/watch.toml", "services/shop", "shop"),
        ("services/*/back/watch.toml", "services/shop/back", "shop.back"),
        ("packages/*/*/watch.toml", "packages/@acme/my ui", "acme.my-ui"),
    ],
)
def test_the_prefix_is_the_folders_from_the_first_wildcard_on(
    tmp_path: Path, pattern: str, folder: str, name: str
) -> None:
    write(tmp_path / "watch.toml", f'project.include = ["{pattern}"]')
    write(tmp_path / folder / pattern.rpartition("/")[2], 'service.web.run = "x"')
    (service,) = loaded(tmp_path).project.services.values()
    assert (service.short, service.dir) == (f"{name}.web", folder)


def test_the_folders_name_is_a_group_unless_it_is_taken(tmp_path: Path) -> None:
    project = loaded(mono(tmp_path, MAIN + '[service.shop]\nrun = "x"\n', shop=SHOP)).project
    assert "shop" not in project.groups


def test_errors_stand_where_they_are_written(tmp_path: Path) -> None:
    shop = '[defaults.service]\nwacth = []\n[service.api]\nrun = "x"\nneeds = ["nobody"]\nport = "x"\n[build.b]\n'
    said = wrong(mono(tmp_path, shop=shop))
    assert [problem.removeprefix("services/shop/watch.toml:")[:49] for problem in said] == [
        '2:1: service "shop.api": unknown key "wacth"; did',
        '5:9: service "shop.api": needs "nobody", but ther',
        '6:8: service "shop.api": port must be a port numb',
        '7:1: build "shop.b": has no "run"; say what to ru',
    ]


def test_missing_files_are_told_with_their_place(tmp_path: Path) -> None:
    shop = '[service.api]\nrun = "x"\ndir = "no"\nenv_file = ["no.env"]\n'
    assert wrong(mono(tmp_path, shop=shop)) == [
        'services/shop/watch.toml:3:7: service "shop.api": dir "no" does not exist',
        'services/shop/watch.toml:4:13: service "shop.api": env_file: services/shop/no.env: no such file',
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = ", "1:3: not valid TOML"),
        ('[project]\nname = "x"', '1:1: "project" stands in the main watch.toml only, and this file is included'),
        ('[project]\ninclude = ["*/watch.toml"]', '1:1: "project" stands in the main watch.toml only'),
        ("[watch]\npoll = true", '1:1: "watch" stands in the main watch.toml only'),
        ("service = 3", "1:11: service must be a table, not 3"),
        ("defaults = 3", "1:12: defaults must be a table, not 3"),
        ("defaults.build = 3", "1:18: defaults.build must be a table, not 3"),
        ("defaults.biuld.x = 3", '1:10: defaults: unknown key "biuld"; the keys here are: build, service'),
    ],
)
def test_what_cannot_be_included_is_told_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    (problem,) = wrong(mono(tmp_path, shop=text))
    assert problem.startswith(f"services/shop/watch.toml:{said}")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("**/watch.toml", "must say how deep to look"),
        ("../*/watch.toml", "must lead to a folder below that of watch.toml"),
        ("/x/watch.toml", "must lead to a folder below that of watch.toml"),
        ("watch.toml", "must be a folder and a file"),
        ("services/*.toml", "must be a folder and a file"),
        ("${X}/watch.toml", "must not have variables or braces"),
    ],
)
def test_an_include_that_cannot_be_is_an_error(tmp_path: Path, entry: str, said: str) -> None:
    (problem,) = wrong(mono(tmp_path, f'[project]\ninclude = ["{entry}"]\n[service.a]\nrun = "x"\n'))
    assert problem.startswith(f'watch.toml:2:12: project: include "{entry}" {said}')


def test_two_folders_of_one_name_are_an_error_with_a_way_out(tmp_path: Path) -> None:
    main = '[project]\ninclude = ["services/*/watch.toml", "tools/*/watch.toml"]\n[service.a]\nrun = "x"\n'
    write(tmp_path / "tools/shop/watch.toml", SHOP)
    (problem,) = wrong(mono(tmp_path, main, shop=SHOP))
    assert problem == (
        'watch.toml:2:37: project: include: "tools/shop" and "services/shop" would both be "shop"; '
        'one pattern for both, such as "*/*/watch.toml", tells them apart'
    )


@pytest.mark.parametrize("folder", ["build", "service", "a[b]", "_"])
def test_a_folder_that_makes_no_name_is_an_error(tmp_path: Path, folder: str) -> None:
    (problem,) = wrong(mono(tmp_path, **{folder: SHOP}))
    assert f'no name can be made of the folder "services/{folder}"' in problem


def test_there_is_a_limit_to_what_is_included(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(include, "MAX_INCLUDED", 1)
    (problem,) = wrong(mono(tmp_path, shop=SHOP, mail=SHOP))
    assert "include: with this entry there are more than 1 files" in problem


def test_one_file_is_included_once(tmp_path: Path) -> None:
    main = '[project]\ninclude = ["services/*/watch.toml", "services/shop/watch.toml"]\n'
    shop = '[service.web]\nrun = "x"\n'
    assert list(loaded(mono(tmp_path, main, shop=shop)).project.units) == ["service.shop.web"]


def test_a_pattern_that_matches_nothing_is_warned_of(tmp_path: Path) -> None:
    (warning,) = loaded(mono(tmp_path)).warnings
    assert str(warning).startswith('watch.toml:3:12: project: include "services/*/watch.toml" matches no file')


def test_hidden_folders_are_not_looked_into(tmp_path: Path) -> None:
    write(tmp_path / "services/.old/watch.toml", "x")
    assert list(loaded(mono(tmp_path)).project.units) == ["service.db"]


def test_the_configuration_as_understood_means_the_same(tmp_path: Path) -> None:
    write(tmp_path / "services/shop/api.env", "")
    write(tmp_path / "services/shop/src/a", "")
    found = loaded(mono(tmp_path, shop=SHOP + '[build.more]\nrun = "x"\nwatch = ["${X:-src}/**"]\n'))
    for document in (found.document, found.expanded):
        write(tmp_path / "again.toml", render(document))
        again = load(tmp_path, file=Path("again.toml"), environ={}).project
        assert {**vars_of(again), "include": ()} == {**vars_of(found.project), "include": ()}


def vars_of(project: object) -> dict[str, object]:
    names: tuple[str, ...] = project.__match_args__  # type: ignore[attr-defined]
    return {name: getattr(project, name) for name in names}


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("src", ("a/b/src",)),
        ("src/", ("a/b/src",)),
        (".", ("a/b",)),
        ("./x/*.c", ("a/b/x/*.c",)),
        ("*.c", ("a/b/**/*.c",)),
        ("!*.c", ("!a/b/**/*.c",)),
        ("**/x/*.c", ("a/b/**/x/*.c",)),
        ("../*/x", ("a/*/x",)),
        ("../../../y/*.h", ("../y/*.h",)),
        ("{src,lib}/*.c", ("a/b/src/*.c", "a/b/lib/*.c")),
        ("{src,*.md}", ("a/b/src", "a/b/**/*.md")),
        ("[id].tsx", ("a/b/[id].tsx",)),
    ],
)
def test_patterns_are_seen_from_the_main_folder(tmp_path: Path, text: str, seen: tuple[str, ...]) -> None:
    write(tmp_path / "a/b/[id].tsx", "")
    assert watched(tmp_path, "a/b", text) == seen


def test_ignored_patterns_are_seen_from_the_main_folder() -> None:
    texts = ("node_modules", "*.log", "/x", "x/y", "!x/", "{a,b}")
    assert [ignored("s", text) for text in texts] == [
        ("s/**/node_modules",), ("s/**/*.log",), ("s//x",), ("s/x/y",), ("!s/**/x/",), ("s/**/a", "s/**/b"),
    ]  # fmt: skip
