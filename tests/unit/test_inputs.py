"""What units read, and what its content is: real files, one call at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from procwatch.core.model import Build, Project, Service, WatchSettings
from procwatch.errors import ProcwatchError
from procwatch.runtime.engines import Events, WatchedFolder
from procwatch.runtime.fingerprints import Reading, signature_of
from procwatch.runtime.inputs import Inputs
from procwatch.runtime.stopping import Stop, Stopped
from procwatch.runtime.walk import marks, signature


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        put(root, name, text)


def put(root: Path, name: str, text: str = "x") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def project(
    root: Path, *units: Build | Service, watch: WatchSettings | None = None, env: tuple[str, ...] = ()
) -> Project:
    return Project(
        name="shop",
        folder=str(root),
        builds={unit.name: unit for unit in units if isinstance(unit, Build)},
        services={unit.name: unit for unit in units if isinstance(unit, Service)},
        watch=watch or WatchSettings(),
        env_files=env,
    )


def build(*watch: str, ignore: tuple[str, ...] = (), name: str = "build.api") -> Build:
    return Build(name, "make", watch=watch, ignore=ignore)


def taken_in(root: Path, unit: Build, watch: WatchSettings | None = None) -> set[str]:
    """The files whose change makes the build stale, as `sweep` finds them and `readers` agrees."""
    inputs = Inputs(project(root, unit, watch=watch))
    found = set(inputs.sweep().readers.readers.get(unit.name, ()))
    every = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    assert found == set(inputs.readers(every).readers.get(unit.name, ()))
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    return folder


# --- what is taken in ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("watch", "ignore", "expected"),
    [
        (("**/*.rs",), (), {"src/a.rs", "src/gen/b.rs"}),
        (("**/*.rs", "!src/gen/"), (), {"src/a.rs"}),
        (("**/*.rs", "!gen", "src/gen/b.rs"), (), {"src/a.rs", "src/gen/b.rs"}),
        (("**/*.rs",), ("gen",), {"src/a.rs"}),
        (("**/*.rs",), ("src/**", "!src/gen/*.rs"), {"src/gen/b.rs"}),
        (("target",), (), {"target/x.rs", "target/deep/y.rs"}),
        (("target/x.rs",), (), {"target/x.rs"}),
        (("target/x.rs", "**/*.rs"), (), {"target/x.rs", "src/a.rs", "src/gen/b.rs"}),
        (("target/*.rs",), (), set()),
        (("target",), ("*.rs",), set()),
        (("**/*.rs",), ("!target/x.rs",), {"src/a.rs", "src/gen/b.rs", "target/x.rs"}),
        ((".git/HEAD",), (), {".git/HEAD"}),
        (("*",), (), {".gitignore", "src/a.rs", "src/gen/b.rs"}),
        ((".",), (), {".gitignore", "src/a.rs", "src/gen/b.rs"}),
        ((), (), set()),
    ],
)
def test_a_build_reads_what_its_patterns_take_in(
    root: Path, watch: tuple[str, ...], ignore: tuple[str, ...], expected: set[str]
) -> None:
    for name in ("src/a.rs", "src/gen/b.rs", "target/x.rs", "target/deep/y.rs", ".git/HEAD", "src/.a.rs.swp", "a~"):
        put(root, name)
    put(root, ".gitignore", "/target\n")
    assert taken_in(root, build(*watch, ignore=ignore)) == expected


def test_what_is_ignored_below_a_folder_that_is_watched_by_name_stays_ignored(root: Path) -> None:
    for name in ("vendor/a.py", "vendor/__pycache__/a.pyc"):
        put(root, name)
    put(root, ".gitignore", "vendor/\n__pycache__/\n")
    assert taken_in(root, build("vendor")) == {"vendor/a.py"}


def test_nested_ignore_files_count_and_dot_ignore_beats_gitignore(root: Path) -> None:
    for name in ("a.log", "keep.log", "sub/b.log", "sub/c.txt", "sub/deep/d.txt", "x.tmp"):
        put(root, name)
    put(root, ".gitignore", "*.log\n!keep.log\n*.tmp\n")
    put(root, "sub/.gitignore", "!b.log\n/c.txt\n")
    put(root, "sub/deep/.gitignore", "*.txt\n")
    put(root, ".ignore", "!x.tmp\nkeep.log\n")
    found = taken_in(root, build("**", ignore=(".gitignore", ".ignore")))
    assert found == {"sub/b.log", "x.tmp"}


def test_the_exclude_file_and_the_repository_above_count(tmp_path: Path, root: Path) -> None:
    for name in ("a.o", "b.x", "c.c"):
        put(root, name)
    put(tmp_path, ".git/info/exclude", "*.o\n")
    put(tmp_path, ".gitignore", "/shop/*.x\n")
    assert taken_in(root, build("*")) == {"c.c"}


def test_a_worktree_shares_the_exclude_file(tmp_path: Path, root: Path) -> None:
    put(tmp_path, "main/.git/info/exclude", "*.o\n")
    put(tmp_path, "main/.git/worktrees/shop/commondir", "../..\n")
    put(root, ".git", f"gitdir: {tmp_path}/main/.git/worktrees/shop\n")
    put(root, "a.o")
    put(root, "a.c")
    inputs = Inputs(project(root, build("*")))
    assert set(inputs.sweep().readers.paths) == {"a.c"}
    assert inputs.git_folder() == f"{tmp_path}/main/.git/worktrees/shop"


def test_ignore_files_can_be_switched_off(root: Path) -> None:
    put(root, "a.log")
    put(root, ".gitignore", "*.log\n")
    assert taken_in(root, build("*.log"), WatchSettings(gitignore=False)) == {"a.log"}


def test_the_ignore_list_of_the_project_counts_for_every_build(root: Path) -> None:
    put(root, "a.log")
    put(root, "a.txt")
    assert taken_in(root, build("*"), WatchSettings(ignore=("*.log",))) == {"a.txt"}


@pytest.mark.parametrize(
    "name",
    [
        ".a.rs.swp", ".a.rs.swx", "4913", "a.rs~", "#a.rs#", ".#a.rs", "a.rs___jb_tmp___", "a.rs___jb_old___",
        ".DS_Store", ".a.rs.kate-swp", ".goutputstream-X1", ".hg/x", ".svn/x", ".procwatch/state.json", "sub/.git/x",
    ],
)  # fmt: skip
def test_what_editors_and_version_control_write_is_ignored(root: Path, name: str) -> None:
    put(root, name)
    put(root, "a.rs")
    assert taken_in(root, build("**")) == {"a.rs"}


def test_a_pattern_may_lead_out_of_the_project(tmp_path: Path, root: Path) -> None:
    put(tmp_path, "lib/deep/a.rs")
    put(tmp_path, "trigger")
    put(tmp_path, "other/b.rs")
    inputs = Inputs(project(root, build("../lib/**/*.rs", "../trigger")))
    assert inputs.sweep().readers.paths == ("../lib/deep/a.rs", "../trigger")
    assert {folder.real for folder in inputs.folders()}.isdisjoint({str(tmp_path / "other")})
    assert inputs.readers([tmp_path / "trigger"]).readers == {"build.api": ("../trigger",)}


def test_a_name_that_is_not_utf8_is_read_like_any_other(root: Path) -> None:
    odd = os.fsdecode(b"caf\xe9.rs")
    put(root, odd)
    inputs = Inputs(project(root, build("*.rs")))
    first = inputs.check("build.api")
    assert inputs.sweep().readers.paths == (odd,)
    put(root, odd, "other")
    assert inputs.check("build.api").changed == (odd,)
    assert inputs.check("build.api").digest != first.digest


def test_an_unknown_pattern_syntax_names_the_unit(root: Path) -> None:
    with pytest.raises(ProcwatchError, match=r'^build.api: pattern "\[z-a\]" must be a path, or a pattern in'):
        Inputs(project(root, build("[z-a]")))


def test_an_ignored_folder_is_neither_listed_nor_watched(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(40):
        put(root, f"node_modules/{number}/deep/a.js")
    put(root, "src/a.js")
    put(root, "src/target/b.js")
    put(root, ".gitignore", "node_modules/\ntarget\n")
    listed: list[str] = []
    real = os.scandir

    def counted(path: str) -> Iterator[os.DirEntry[str]]:
        listed.append(os.path.relpath(path, root))
        return real(path)

    monkeypatch.setattr(os, "scandir", counted)
    inputs = Inputs(project(root, build("**", name="build.a"), build("src/**", name="build.b")))
    for look in (lambda: inputs.check("build.a"), inputs.learn, inputs.sweep):
        listed.clear()
        look()
        assert sorted(listed) == [".", "src"]
    assert {os.path.relpath(folder.real, root) for folder in inputs.folders()} & {"node_modules", "src/target"} == set()
    assert len([folder for folder in inputs.folders() if is_below(folder.real, root)]) == 2


def is_below(folder: str, root: Path) -> bool:
    return Path(folder).is_relative_to(root)


def test_each_folder_is_watched_before_it_is_looked_into(root: Path) -> None:
    put(root, "src/deep/a.rs")
    inputs = Inputs(project(root, build("src/**")))
    watched: list[str] = []

    def watch(folder: WatchedFolder) -> None:
        watched.append(folder.real)
        if folder.real == str(root / "src"):
            put(root, "src/new/b.rs")

    inputs.learn(watch)
    assert set(watched) <= {folder.real for folder in inputs.folders()}
    assert watched[-3:] == [str(root / "src"), str(root / "src/deep"), str(root / "src/new")]
    assert inputs.sweep().readers.paths == ()


def test_the_first_check_looks_at_no_folder_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root, "src/a.rs")
    put(root, "other/a.rs")
    put(root, "src/b.rs")
    shop = project(root, build("src/**", "!src/b.rs", "lib/**"))
    inputs, before = Inputs(shop), Inputs(shop).check("build.api")
    inputs.learn()
    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", lambda path: pytest.fail(f"listed: {path}"))
        assert inputs.check("build.api") == before
        assert inputs.warnings() == ('build.api: watch pattern "lib/**" matches nothing',)
    put(root, "src/c.rs")
    inputs.sweep()
    assert inputs.check("build.api").changed == ("src/c.rs",)


# --- links -----------------------------------------------------------------------------------------------------------


def test_links_are_followed_and_circles_end(root: Path) -> None:
    put(root, "src/a.rs")
    (root / "src" / "again").symlink_to("..")
    (root / "lib").symlink_to("src")
    put(root.parent, "away/b.rs")
    (root / "away").symlink_to("../away")
    assert Inputs(project(root, build("**/*.rs"))).sweep().readers.paths == ("away/b.rs", "src/a.rs")


def test_a_link_that_a_pattern_names_is_followed_under_its_own_name(root: Path) -> None:
    put(root, "src/a.rs")
    put(root, "src/b.toml")
    (root / "lib").symlink_to("src")
    inputs = Inputs(project(root, build("src/*.rs", "lib/*.toml")))
    assert inputs.sweep().readers.paths == ("lib/b.toml", "src/a.rs")


@pytest.mark.parametrize("name", ["current", "current/a.txt"])
def test_a_swapped_link_is_a_change_even_if_the_content_is_the_same(root: Path, name: str) -> None:
    for release in ("one", "two"):
        put(root, f"{release}/a.txt", "same")
    link = root / "current"
    link.symlink_to("one")
    inputs = Inputs(project(root, build(name)))
    before = inputs.check("build.api")
    link.unlink()
    link.symlink_to("two")
    assert inputs.check("build.api").digest != before.digest
    link.unlink()
    link.symlink_to("one")
    assert inputs.check("build.api").digest == before.digest


def test_a_link_to_nothing_counts_as_itself(root: Path) -> None:
    (root / "a.txt").symlink_to("nowhere")
    inputs = Inputs(project(root, build("a.txt")))
    before = inputs.check("build.api")
    put(root, "nowhere", "now here")
    after = inputs.check("build.api")
    assert after.changed == ("a.txt",)
    assert after.digest != before.digest


# --- content ---------------------------------------------------------------------------------------------------------


def test_the_digest_follows_the_content_and_comes_back_with_it(root: Path) -> None:
    put(root, "a.rs", "one")
    inputs = Inputs(project(root, build("*.rs")))
    first = inputs.check("build.api")
    assert (first.changed, first.touched) == ((), False)
    put(root, "a.rs", "two")
    second = inputs.check("build.api")
    assert second.digest != first.digest
    assert second.changed == ("a.rs",)
    put(root, "a.rs", "one")
    assert inputs.check("build.api").digest == first.digest


def test_a_touch_changes_nothing_but_is_told(root: Path) -> None:
    path = put(root, "a.rs")
    inputs = Inputs(project(root, build("*.rs")))
    first = inputs.check("build.api")
    os.utime(path, ns=(1, 1))
    second = inputs.check("build.api")
    assert (second.digest, second.changed, second.touched) == (first.digest, (), True)
    assert inputs.check("build.api").touched is False


def test_with_unchanged_run_any_write_counts(root: Path) -> None:
    path = put(root, "a.rs")
    inputs = Inputs(project(root, replace(build("*.rs"), unchanged="run")))
    first = inputs.check("build.api")
    os.utime(path, ns=(1, 1))
    assert inputs.check("build.api").digest != first.digest


def test_new_and_deleted_files_are_changes(root: Path) -> None:
    gone = put(root, "src/gone.rs")
    inputs = Inputs(project(root, build("src/*.rs")))
    inputs.check("build.api")
    gone.unlink()
    put(root, "src/new.rs")
    assert inputs.check("build.api").changed == ("src/gone.rs", "src/new.rs")


def test_a_file_that_moved_is_another_content(root: Path) -> None:
    put(root, "a.rs")
    inputs = Inputs(project(root, build("*.rs")))
    first = inputs.check("build.api")
    (root / "a.rs").rename(root / "b.rs")
    assert inputs.check("build.api").digest != first.digest


def test_a_file_that_looks_the_same_is_read_again_after_an_event(root: Path) -> None:
    path = put(root, "a.rs", "one")
    inputs = Inputs(project(root, build("*.rs")))
    first = inputs.check("build.api")
    settle_and_forge(inputs, path, "two")
    inputs.fresh_events(["a.rs"])
    second = inputs.check("build.api")
    assert second.changed == ("a.rs",)
    assert second.digest != first.digest


def test_a_file_that_looks_the_same_is_not_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(root, "a.rs")
    os.utime(path, ns=(1, 1))
    inputs = Inputs(project(root, build("*.rs")))
    monkeypatch.setattr("procwatch.runtime.fingerprints.COARSE_CLOCK_NS", -(10**18))
    inputs.check("build.api")
    opened: list[str] = []
    monkeypatch.setattr(os, "open", lambda name, *rest: opened.append(name))
    assert inputs.check("build.api").changed == ()
    assert opened == []


def test_a_file_that_changed_just_before_it_was_read_is_read_again(root: Path) -> None:
    path = put(root, "a.rs", "one")
    inputs = Inputs(project(root, build("*.rs")))
    inputs.check("build.api")
    settle_and_forge(inputs, path, "two")
    assert inputs.check("build.api").changed == ("a.rs",)


def settle_and_forge(inputs: Inputs, path: Path, text: str) -> None:
    """Write text of the same length, and make all that was read before believe that the times are the same."""
    path.write_text(text)
    readings = inputs._fingerprints._readings
    status = path.stat()
    old = readings[path.name]
    forged = marks(signature_of(old))._replace(mtime_ns=status.st_mtime_ns, ctime_ns=status.st_ctime_ns)
    readings[path.name] = Reading(old[: -len(signature_of(old))] + forged.packed())


def test_env_files_and_the_definition_are_part_of_every_digest(root: Path) -> None:
    put(root, ".env", "A=1")
    put(root, "api.env", "B=1")
    service = Service("service.api", "run", watch=("*.toml",), env_files=("api.env",))
    inputs = Inputs(project(root, service, env=(".env",)))
    digests = [inputs.check("service.api").digest]
    for name in (".env", "api.env"):
        put(root, name, "C=2")
        checked = inputs.check("service.api")
        assert checked.changed == (name,)
        digests.append(checked.digest)
    other = Inputs(project(root, replace(service, run="run --fast"), env=(".env",)))
    digests.append(other.check("service.api").digest)
    assert len(set(digests)) == 4


def test_what_a_service_watches_is_no_part_of_its_digest(root: Path) -> None:
    put(root, "a.toml")
    inputs = Inputs(project(root, Service("service.api", "run", watch=("*.toml",))))
    first = inputs.check("service.api")
    put(root, "a.toml", "other")
    assert inputs.check("service.api") == first


def test_a_file_that_cannot_be_read_is_a_content_of_its_own_and_told_once(root: Path) -> None:
    (root / "a.rs").symlink_to("/proc/self/mem")
    inputs = Inputs(project(root, build("a.rs")))
    assert inputs.check("build.api").digest
    assert inputs.warnings() == ('build.api: cannot read "a.rs": input/output error',)
    inputs.check("build.api")
    assert inputs.warnings() == ()


def test_a_pipe_is_not_opened(root: Path) -> None:
    os.mkfifo(root / "a.rs")
    assert Inputs(project(root, build("a.rs"))).check("build.api").digest


# --- who reads what --------------------------------------------------------------------------------------------------


def test_changed_paths_are_told_by_unit(root: Path) -> None:
    api = replace(build("src/*.rs"), env_files=("api.env",))
    web = Service("service.web", "run", watch=("*.toml",), env_files=("web.env",))
    inputs = Inputs(project(root, api, web, env=(".env",)))
    told = inputs.readers(["src/a.rs", "a.toml", "api.env", root / "web.env", ".env", "nobody"])
    assert told.paths == (".env", "a.toml", "api.env", "src/a.rs", "web.env")
    assert told.readers == {"build.api": (".env", "api.env", "src/a.rs"), "service.web": (".env", "web.env")}
    assert list(told.touched) == ["service.web"]


def test_an_env_file_counts_ignored_or_not(root: Path) -> None:
    put(root, ".gitignore", ".env\n")
    put(root, ".env")
    inputs = Inputs(project(root, build(ignore=(".env",)), env=(".env",)))
    assert inputs.sweep().readers.readers == {"build.api": (".env",)}


def test_a_folder_that_is_gone_stands_for_the_files_that_were_in_it(root: Path) -> None:
    put(root, "src/sub/a.rs")
    inputs = Inputs(project(root, build("src/**/*.rs")))
    inputs.sweep()
    assert inputs.readers(["src/sub"]).paths == ("src/sub/a.rs",)


# --- what to watch ---------------------------------------------------------------------------------------------------


def folders(root: Path, *watch: str, ignore: tuple[str, ...] = ()) -> set[str]:
    inputs = Inputs(project(root, build(*watch, ignore=ignore)))
    inputs.sweep()
    return {os.path.relpath(folder.real, root) for folder in inputs.folders() if folder.what in {"names", "entries"}}


def test_only_folders_in_which_something_can_match_are_watched(root: Path) -> None:
    for name in ("src/a/b.rs", "node_modules/x/y.rs", "unrelated/z.rs", "src/gen/c.rs", "keep/d/e.rs"):
        put(root, name)
    put(root, ".gitignore", "node_modules\ngen\nkeep\n")
    assert folders(root, "src/**/*.rs") == {"..", ".", "src", "src/a"}
    assert folders(root, "**/*.rs") == {"..", ".", "src", "src/a", "unrelated"}
    assert folders(root, "keep/d") == {"..", ".", "keep", "keep/d"}
    assert folders(root, "**/*.rs", "!unrelated", ignore=("!keep/d/*.rs",)) == {
        "..",
        ".",
        "src",
        "src/a",
        "keep",
        "keep/d",
    }
    assert folders(root) == set()


def test_of_what_does_not_exist_the_nearest_folder_is_watched(root: Path) -> None:
    assert folders(root, "not/yet/there.txt") == {"..", "."}
    (root / "not").mkdir()
    assert folders(root, "not/yet/there.txt") == {"..", ".", "not"}


def test_of_a_folder_that_only_leads_on_writes_are_not_asked_for(root: Path) -> None:
    put(root, "src/deep/a.rs")
    put(root, "src/b.rs")

    def asked_for(*watch: str) -> dict[str, str]:
        inputs = Inputs(project(root, build(*watch)))
        inputs.learn()
        return {os.path.relpath(folder.real, root): folder.what for folder in inputs.folders()}

    asked = asked_for("src/deep/*.rs")
    assert (asked[".."], asked["."], asked["src"], asked["src/deep"]) == ("entries", "entries", "entries", "names")
    asked = asked_for("src/deep/*.rs", "src/b.rs")
    assert (asked[".."], asked["."], asked["src"]) == ("entries", "entries", "names")
    (root / "src/deep/c.rs").symlink_to("../../../c.txt")
    assert asked_for("src/deep/*.rs")[".."] == "names"


def test_each_real_folder_is_watched_once_and_so_is_what_a_link_leads_to(root: Path) -> None:
    put(root, "src/a.rs")
    (root / "lib").symlink_to("src")
    put(root.parent, "away/b.rs")
    (root / "c.rs").symlink_to("../away/b.rs")
    assert folders(root, "**/*.rs") == {"..", ".", "src", "../away"}


def test_a_big_unrelated_folder_costs_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root, "src/a.rs")
    put(root, "huge/b.rs")
    listed: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))  # type: ignore[func-returns-value]
    Inputs(project(root, build("src/*.rs", "Cargo.toml"))).sweep()
    assert listed == [str(root / "src")]


# --- warnings --------------------------------------------------------------------------------------------------------


def test_patterns_that_take_in_nothing_are_told(root: Path) -> None:
    put(root, "src/a.rs")
    put(root, "target/x.rs")
    put(root, ".gitignore", "target\n")
    inputs = Inputs(project(root, build("src/**/*.rz", "target/*.rs", "src/*.{rs,rx}", "missing.txt", "!nothing")))
    assert inputs.warnings() == (
        'build.api: watch pattern "src/**/*.rz" matches nothing',
        'build.api: watch pattern "target/*.rs" matches only ignored files',
        'build.api: watch pattern "missing.txt" matches nothing',
    )


def test_a_folder_that_is_not_looked_into_is_told_once(root: Path) -> None:
    put(root, "src/a.rs")
    (root / "src/all").symlink_to("/")
    inputs = Inputs(project(root, build("src/**")))
    why = 'cannot look into "src/all": it leads to a folder that the project is in'
    assert inputs.warnings() == (f"build.api: {why}",)
    inputs.sweep()
    assert inputs.denied() == (why,)
    assert inputs.warnings() == ()


def test_a_list_that_only_takes_back_is_told(root: Path) -> None:
    put(root, "src/a.rs")
    inputs = Inputs(project(root, build("!src/a.rs", "!*.md")))
    assert inputs.warnings() == ('build.api: watch takes in nothing that "!src/a.rs" could take back',)


def test_a_warning_holds_no_control_characters(root: Path) -> None:
    assert Inputs(project(root, build("a\x1b\n"))).warnings() == (
        'build.api: watch pattern "a\\x1b\\n" matches nothing',
    )


# --- looking where events point --------------------------------------------------------------------------------------


def test_an_edited_ignore_file_counts_at_once(root: Path) -> None:
    put(root, "sub/a.log")
    inputs = Inputs(project(root, build("**/*.log")))
    inputs.sweep()
    rule = put(root, "sub/.gitignore", "*.log\n")
    assert inputs.look(Events(frozenset({str(rule)}))).readers.paths == ()
    put(root, "sub/b.log")
    assert inputs.look(Events(frozenset({str(root / "sub" / "b.log")}))).readers.paths == ()
    empty = Inputs(project(root, build("**/*.log"))).check("build.api")
    assert inputs.check("build.api").digest == empty.digest
    rule.unlink()
    assert inputs.look(Events(frozenset({str(rule)}))).readers.paths == ("sub/a.log", "sub/b.log")


def test_an_event_without_a_change_is_no_change(root: Path) -> None:
    path = put(root, "a.rs")
    os.utime(path, ns=(1, 1))
    inputs = Inputs(project(root, build("*.rs")))
    inputs.sweep()
    inputs._territory._unsettled.clear()
    assert inputs.look(Events(frozenset({str(path)}))).readers.paths == ()


def test_a_truncated_or_vanished_file_is_unfinished(root: Path) -> None:
    one, two, new = put(root, "one"), put(root, "two"), root / "new"
    inputs = Inputs(project(root, build("*")))
    inputs.sweep()
    one.write_text("")
    two.unlink()
    new.touch()
    seen = inputs.look(Events(frozenset({str(one), str(two), str(new)})))
    assert seen.unfinished == {"one", "two"}
    assert seen.readers.paths == ("new", "one", "two")


def test_a_late_event_of_a_save_is_no_second_change_but_a_second_save_is(root: Path) -> None:
    path = put(root, "a.rs", "old")
    inputs = Inputs(project(root, build("*.rs")))
    inputs.sweep()
    put(root, "a.rs", "new")
    assert inputs.look(Events(frozenset({str(path)}))).readers.paths == ("a.rs",)
    assert inputs.look(Events(frozenset({str(path)}))).readers.paths == ()
    put(root, "a.rs", "too")
    inputs._territory._found.files["a.rs"] = signature(path.lstat())  # as a coarse clock would have it
    assert inputs.look(Events(frozenset({str(path)}))).readers.paths == ("a.rs",)


def test_without_events_too_a_second_save_is_seen_that_a_coarse_clock_does_not_tell_from_the_first(root: Path) -> None:
    path = put(root, "a.rs", "old")
    inputs = Inputs(project(root, build("*.rs")))
    inputs.sweep()
    put(root, "a.rs", "one")
    assert inputs.sweep().readers.paths == ("a.rs",)
    assert inputs.sweep().readers.paths == ()
    put(root, "a.rs", "two")
    inputs._territory._found.files["a.rs"] = signature(path.lstat())  # as a coarse clock would have it
    assert inputs.sweep().readers.paths == ("a.rs",)
    assert inputs.sweep().readers.paths == ()


@pytest.mark.parametrize(
    "look", [Inputs.learn, Inputs.sweep, Inputs.warnings, lambda inputs: inputs.check("build.api")]
)
def test_once_it_is_stopped_nothing_is_looked_at(root: Path, look: Callable[[Inputs], object]) -> None:
    shop = project(root, build("src/**"))
    look(Inputs(shop))
    stopped = Inputs(shop)
    stopped.renewed(shop, ()).stop()
    with pytest.raises(Stopped):
        look(stopped)


def test_a_sweep_that_is_ended_leaves_what_it_would_have_found_to_the_next_one(root: Path) -> None:
    class Ending(Stop):
        def look(self) -> None:
            raise KeyError

    inputs = Inputs(project(root, build("src/**")))
    inputs.sweep()
    put(root, "src/new.rs")
    with pytest.raises(KeyError):
        inputs.sweep(Ending())
    assert inputs.sweep().readers.paths == ("src/new.rs",)


def test_a_new_file_that_is_empty_is_waited_for_until_it_is_written_or_closed(root: Path) -> None:
    inputs = Inputs(project(root, build("**/*.rs")))
    inputs.sweep()
    places = frozenset({str(put(root, name, "")) for name in ("a.rs", "b.rs", "c.rs")})
    a, b, _ = sorted(places)
    assert inputs.look(Events(places, created=frozenset({a, b}))).unfinished == {"a.rs", "b.rs"}  # c.rs is closed
    put(root, "a.rs", "written")
    seen = inputs.look(Events(frozenset({a, b})))
    assert seen.readers.paths == ("a.rs",)
    assert not seen.unfinished
    assert seen.closed == {"b.rs"}
    assert not inputs.look(Events(frozenset({b}))).closed
    put(root, "new/d.rs", "")  # found before any event of it
    assert inputs.look(Events(frozenset({str(root / "new")}))).unfinished == {"new/d.rs"}
