"""The air-gapped install: from a folder of wheels to a release in use, or to nothing changed; and back again."""

import base64
import hashlib
import re
import subprocess
import sys
import zipfile

import pytest

PROGRAM = """
import sys
def main():
    {body}
"""


def write_wheel(folder, name, version, requires=(), program=None, body="sys.stdout.write('gliofed {version}\\n')"):
    """Write a wheel of one module; `program` is a script that calls its `main`."""
    info = f"{name}-{version}.dist-info"
    extras = "".join(f"Provides-Extra: {extra}\n" for extra in ("client", "server"))
    needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
    files = {
        f"{name}.py": PROGRAM.format(body=body.format(version=version)),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{extras}{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{program} = {name}:main\n" if program else "",
    }
    lines = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(text.encode())}")
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,"]) + "\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)


def write_wheelhouse(folder, version, dependency="0.5", **program):
    """Write a stand-in of ours that needs one other package for a client, and that package."""
    folder.mkdir()
    write_wheel(folder, "gliofed", version, ['needed>=0.5; extra == "client"'], "gliofed-client", **program)
    if dependency:
        write_wheel(folder, "needed", dependency)
    sums = "".join(f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in sorted(folder.glob("*.whl")))
    (folder / "SHA256SUMS").write_text(sums)
    return folder


@pytest.fixture
def install(deploy, tmp_path):
    """Run the script; returns exit status, and all that it said."""

    def run(*arguments):
        command = ["sh", str(deploy / "offline" / "install.sh"), *map(str, arguments)]
        command += ["--prefix", str(tmp_path / "opt")]
        if "--rollback" not in arguments:
            command += ["--python", sys.executable]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        return done.returncode, done.stdout + done.stderr

    run.prefix = tmp_path / "opt"
    return run


def in_use(install):
    """What the program says that the services would start."""
    program = install.prefix / "current" / "bin" / "gliofed-client"
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]


def links(install):
    return {
        name: str((install.prefix / name).readlink())
        for name in ("current", "previous")
        if (install.prefix / name).is_symlink()
    }


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.slow
def test_an_install_an_upgrade_that_fails_one_that_does_not_and_the_way_back(install, tmp_path):
    status, said = install(write_wheelhouse(tmp_path / "one", "0.1.0"), "client")
    assert status == 0, said
    assert in_use(install) == "0.1.0"
    assert links(install) == {"current": "releases/0.1.0"}

    status, said = install(write_wheelhouse(tmp_path / "broken", "0.2.0", dependency=None), "client")
    assert (status, "nothing was changed: current is releases/0.1.0" in said) == (1, True)
    assert in_use(install) == "0.1.0"
    assert sorted(path.name for path in (install.prefix / "releases").iterdir()) == ["0.1.0"]

    status, said = install(write_wheelhouse(tmp_path / "two", "0.2.0"), "client")
    assert status == 0, said
    assert in_use(install) == "0.2.0"
    assert links(install) == {"current": "releases/0.2.0", "previous": "releases/0.1.0"}

    assert install("--rollback")[0] == 0
    assert in_use(install) == "0.1.0"
    assert links(install) == {"current": "releases/0.1.0", "previous": "releases/0.2.0"}
    assert install("--rollback")[0] == 0
    assert in_use(install) == "0.2.0"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"dependency": "0.4"}, "No matching distribution"),
        ({"body": "sys.exit(3)"}, "nothing was changed"),
    ],
)
def test_an_upgrade_that_fails_leaves_what_was_in_use(install, tmp_path, broken, said):
    assert install(write_wheelhouse(tmp_path / "one", "0.1.0"), "client")[0] == 0
    before = everything(install.prefix)
    status, output = install(write_wheelhouse(tmp_path / "two", "0.2.0", **broken), "client")
    assert status != 0
    assert said in output
    assert in_use(install) == "0.1.0"
    assert [path for path in everything(install.prefix) if "__pycache__" not in path] == [
        path for path in before if "__pycache__" not in path
    ]


@pytest.mark.slow
def test_what_a_power_cut_left_is_installed_anew(install, tmp_path):
    half = install.prefix / "releases" / "0.1.0" / "bin"
    half.mkdir(parents=True)
    (half / "gliofed-client").write_text("half a file")
    status, said = install(write_wheelhouse(tmp_path / "one", "0.1.0"), "client")
    assert status == 0, said
    assert in_use(install) == "0.1.0"


def test_a_wheel_that_was_changed_on_the_way_is_refused_before_anything_is_written(install, tmp_path):
    wheelhouse = write_wheelhouse(tmp_path / "one", "0.1.0")
    with (wheelhouse / "needed-0.5-py3-none-any.whl").open("ab") as wheel:
        wheel.write(b"!")
    status, said = install(wheelhouse, "client")
    assert (status, "damaged or missing" in said) == (1, True)
    assert not install.prefix.exists()


def test_a_wheel_that_was_lost_on_the_way_is_refused(install, tmp_path):
    wheelhouse = write_wheelhouse(tmp_path / "one", "0.1.0")
    (wheelhouse / "needed-0.5-py3-none-any.whl").unlink()
    assert "damaged or missing" in install(wheelhouse, "client")[1]


@pytest.mark.slow
def test_a_version_that_is_installed_is_not_touched(install, tmp_path):
    wheelhouse = write_wheelhouse(tmp_path / "one", "0.1.0")
    assert install(wheelhouse, "client")[0] == 0
    status, said = install(wheelhouse, "client")
    assert (status, "this version is installed" in said) == (1, True)
    assert in_use(install) == "0.1.0"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rollback"], "there is no release before this one"),
        (["none", "client"], "holds no SHA256SUMS"),
        (["none", "hospital"], "client or a server"),
        (["none"], "client or a server"),
        (["none", "client", "more"], "one word too many"),
        (["--wheels"], "no option"),
    ],
)
def test_what_cannot_be_done_is_said_in_words(install, arguments, said):
    status, output = install(*arguments)
    assert (status, said in output) == (1, True), output


@pytest.mark.slow
def test_a_release_that_was_removed_is_not_rolled_back_to(install, tmp_path):
    for version in ("0.1.0", "0.2.0"):
        assert install(write_wheelhouse(tmp_path / version, version), "client")[0] == 0
    (install.prefix / "releases" / "0.1.0" / ".complete").unlink()
    status, said = install("--rollback")
    assert (status, "install that version again" in said) == (1, True)
    assert in_use(install) == "0.2.0"


def test_the_page_installs_and_goes_back_as_these_tests_do(deploy):
    page = (deploy.parent / "docs" / "how-to" / "upgrade.md").read_text("utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    assert [line for line in lines if "install.sh" in line] == [
        "sh install.sh wheelhouse client",
        "sh install.sh --rollback",
    ]
    assert [line for line in lines if line.startswith("systemctl")] == ["systemctl restart gliofed-client"] * 2
    assert (deploy / "systemd" / "gliofed-client.service").is_file()
