"""What a machine and an installation can lack, read from a system's own files, each with its remedy."""

from __future__ import annotations

import json
import shutil
import socket
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from client.doctor.finding import Finding, Mark
from client.doctor.topics import installation
from client.monitoring.start import start_monitoring
from common.study import code_version
from tests.doctor.conftest import LIMITS, Hospital, Usage


def test_a_full_disk_is_told_with_what_is_needed(hospital: Hospital) -> None:
    found = hospital.ask("disk", disk=lambda place: Usage(10**12, 0, 10**9))
    assert (found.mark, found.code) == (Mark.FAIL, "disk-full")
    assert "move workdir" in found.remedy
    assert found.figures["need_gb"] == pytest.approx(5, abs=0.5)


def test_a_disk_with_little_to_spare_is_warned_of(hospital: Hospital) -> None:
    assert hospital.ask("disk", disk=lambda place: Usage(10**12, 0, 8 * 10**9)).code == "disk-tight"


def test_a_policy_that_allows_too_little_disk_is_told(hospital: Hospital) -> None:
    hospital.says("policy.disk_gb = 1.0")
    assert "raise policy.disk_gb" in hospital.ask("disk").remedy


def test_a_containers_small_shared_memory_is_enlarged(hospital: Hospital) -> None:
    found = hospital.ask("shared-memory", disk=lambda place: Usage(64 * 2**20, 0, 64 * 2**20))
    assert (found.mark, found.code, found.figures) == (Mark.WARN, "small-shm", {"mb": 67})
    assert "--shm-size=2g" in found.remedy


def test_little_memory_is_warned_of(hospital: Hospital) -> None:
    hospital.root.joinpath("proc/meminfo").write_text("MemTotal: 4000000 kB\nMemAvailable: 1000000 kB\n")
    found = hospital.ask("memory")
    assert (found.mark, found.code) == (Mark.WARN, "little-memory")
    assert "more memory" in found.remedy


def test_core_dumps_are_turned_off(hospital: Hospital) -> None:
    hospital.root.joinpath("proc/self/limits").write_text(LIMITS.format("unlimited"))
    found = hospital.ask("core-dumps")
    assert (found.mark, found.code) == (Mark.WARN, "core-dumps")
    assert "LimitCORE=0" in found.remedy


def test_a_swap_that_is_not_encrypted_is_told_and_an_encrypted_one_passes(hospital: Hospital) -> None:
    swaps = hospital.root / "proc/swaps"
    swaps.write_text("Filename Type Size Used Priority\n/dev/dm-1 partition 8 0 -2\n/dev/zram0 partition 8 0 5\n")
    found = hospital.ask("swap")
    assert (found.mark, found.figures) == (Mark.WARN, {"swaps": 1})
    assert "swapoff -a" in found.remedy
    uuid = hospital.root / "sys/block/dm-1/dm/uuid"
    uuid.parent.mkdir(parents=True)
    uuid.write_text("CRYPT-PLAIN-swap\n")
    assert hospital.ask("swap").mark is Mark.PASS


def ports(hospital: Hospital, metrics: int, health: int) -> Finding:
    hospital.says(f"monitoring.metrics_port = {metrics}", f"monitoring.health_port = {health}")
    return hospital.ask("ports", patience_s=0.5)


def test_a_port_of_a_stranger_is_told(hospital: Hospital) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        found = ports(hospital, one.getsockname()[1], other.getsockname()[1])
    assert (found.mark, found.code, found.figures) == (Mark.FAIL, "port-taken", {"taken": 2})
    assert "[monitoring] of site.toml" in found.remedy


def test_the_ports_of_the_site_that_serves_are_its_own(hospital: Hospital) -> None:
    hospital.says("monitoring.metrics_port = 0", "monitoring.health_port = 0")
    with start_monitoring(hospital.site, lambda: True) as watched:
        found = ports(hospital, watched.metrics_port, watched.health_port)
    assert (found.mark, found.figures) == (Mark.PASS, {"ours": 2})


@pytest.mark.parametrize(("package", "version"), [("flwr", "1.42.0"), ("torch", None)])
def test_other_versions_than_ours_are_installed_anew(hospital: Hospital, package: str, version: str | None) -> None:
    def installed(name: str) -> str:
        if name != package:
            return metadata.version(name)
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    found = hospital.ask("versions", version=installed)
    assert (found.mark, found.code) == (Mark.FAIL, "versions")
    assert package in found.what
    assert "install GlioFed anew" in found.remedy


def test_a_plan_of_other_code_asks_for_that_version(hospital: Hospital) -> None:
    signed = hospital.plan(code_version="9.9.9+abc")
    found = hospital.ask("code", plan=signed.plan)
    assert (found.mark, found.code) == (Mark.FAIL, "other-code")
    assert "9.9.9+abc" in found.what
    assert "install the version" in found.remedy


def test_before_any_plan_the_kit_says_which_code_the_coordinator_has(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(hospital.site.work / "approvals")
    assert hospital.ask("code").mark is Mark.PASS
    monkeypatch.setattr(installation, "code_version", lambda: "0.0.9+old")
    found = hospital.ask("code")
    assert (found.mark, found.code) == (Mark.WARN, "other-code")
    assert f"install {code_version()}" in found.remedy and "0.0.9+old" in found.what


def test_a_kit_that_names_no_code_is_read_and_asks_for_none(hospital: Hospital) -> None:
    shutil.rmtree(hospital.site.work / "approvals")
    card = json.loads(hospital.site.card.read_bytes())
    del card["code_version"]
    hospital.site.card.write_text(json.dumps(card))
    found = hospital.ask("code")
    assert (found.mark, found.what) == (
        Mark.SKIP,
        "not checked: neither a plan nor the kit says which version is wanted",
    )


def test_where_systemd_rules_the_unit_is_installed_then_enabled(hospital: Hospital) -> None:
    (hospital.root / "run/systemd/system").mkdir(parents=True)
    assert "copy deploy/systemd/gliofed-client.service" in hospital.ask("service").remedy
    unit = hospital.root / "etc/systemd/system/gliofed-client.service"
    unit.parent.mkdir(parents=True)
    unit.touch()
    assert hospital.ask("service").remedy == "systemctl enable --now gliofed-client.service"
    wants = unit.parent / "multi-user.target.wants"
    wants.mkdir()
    (wants / unit.name).symlink_to(unit)
    assert hospital.ask("service").mark is Mark.PASS


def test_hours_by_a_clock_in_utc_are_warned_of(hospital: Hospital) -> None:
    hospital.says('policy.hours = "20:00-06:00"')
    found = hospital.ask("time-zone", now=lambda: datetime(2026, 11, 22, 12, tzinfo=UTC))
    assert (found.mark, found.code) == (Mark.WARN, "utc")
    assert "TZ=Europe/Berlin" in found.remedy


def test_london_in_winter_is_a_zone_that_is_meant(hospital: Hospital) -> None:
    hospital.says('policy.hours = "20:00-06:00"')
    noon = datetime(2026, 11, 22, 12, tzinfo=ZoneInfo("Europe/London"))
    found = hospital.ask("time-zone", now=lambda: noon)
    assert (found.mark, found.figures) == (Mark.PASS, {"offset_h": 0})
    assert "it is 12:00 GMT: closed" in found.what


def test_a_locale_without_utf_8_is_warned_of(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locale.getpreferredencoding", lambda do_setlocale: "ANSI_X3.4-1968")
    assert hospital.ask("time-zone").remedy == "set LANG=C.UTF-8"


def test_an_open_workdir_and_keys_are_closed(hospital: Hospital) -> None:
    hospital.site.work.chmod(0o755)
    assert hospital.ask("private-folders").mark is Mark.PASS  # the folder above it lets nobody in, as `init` made it
    hospital.site.folder.chmod(0o755)
    hospital.site.key.parent.chmod(0o700)
    found = hospital.ask("private-folders")
    assert (found.mark, found.code, found.figures) == (Mark.WARN, "open-folder", {"folders": 1})
    assert f"chmod 700 {hospital.site.work}" in found.remedy


@pytest.mark.parametrize("how", ["a link", "dots"])
def test_a_workdir_elsewhere_is_not_closed_by_the_sites_folder(hospital: Hospital, tmp_path: Path, how: str) -> None:
    elsewhere = hospital.site.folder.parent / "large-disk"
    elsewhere.mkdir(mode=0o755)
    if how == "a link":
        shutil.rmtree(hospital.site.work)
        hospital.site.work.symlink_to(elsewhere)
    else:
        hospital.says('workdir = "../large-disk"')
    assert hospital.ask("private-folders").code == "open-folder"


def test_a_workdir_that_cannot_be_written_to_is_told(hospital: Hospital) -> None:
    hospital.site.work.rename(hospital.site.folder / "before")
    hospital.site.work.touch()
    found = hospital.ask("write-access")
    assert (found.mark, found.code) == (Mark.FAIL, "not-writable")
    assert "give it to the user" in found.remedy


def test_scans_that_could_be_changed_are_mounted_read_only(hospital: Hospital) -> None:
    found = hospital.ask("scans-read-only", writable=lambda folder: True)
    assert (found.mark, found.code) == (Mark.WARN, "scans-writable")
    assert f"mount {hospital.scans} read-only" in found.remedy


def test_half_written_files_are_removed_once_nobody_writes_them(hospital: Hospital, tmp_path: Path) -> None:
    left = hospital.site.work / "cache" / ".slices.part"
    left.parent.mkdir()
    left.touch()
    assert hospital.ask("half-written").mark is Mark.PASS
    later = datetime.now(UTC).replace(year=2030)
    found = hospital.ask("half-written", now=lambda: later)
    assert (found.mark, found.figures) == (Mark.WARN, {"files": 1})
    assert "remove them while nothing of GlioFed runs" in found.remedy
