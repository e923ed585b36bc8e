"""Whatever bytes come from elsewhere, a parser returns or refuses in our own words; nothing else ends a program.

`DOORS` lists the parsers fuzzed here, by their full name; `ELSEWHERE` says where the others are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.nifti1 import Nifti1Extension

from client.cli import PROGRAM, app
from client.config import parse_site
from client.data.catalog import survey_folder
from client.data.checks.personal import read_sidecar
from client.data.checks.provenance import is_marked
from client.data.checks.reading import UnreadableError, read_scan
from client.data.integrity import check_catalog
from client.data.layouts.participants import read_participants, read_ucsf_metadata
from client.imaging.nifti import read_volume
from client.privacy.audit_message import sole_subject
from common.assessment.dossier import parse_dossier
from common.console import run
from common.errors import GliofedError
from common.identity.certificates import load_certificates
from common.parcel import BYTES, INDEX, PARCEL, unwrap, wrap
from common.records import METRICS, RAW, Answer, Declared, StopOrder, Task, read_metrics, read_text, unpack_tensors
from common.release import read_release
from common.roster_file import parse_roster
from common.secure.messages import Advert, Adverts, Boxes, Dealt, Revealed, Signatures, Survivors
from common.secure.words import unpack_words
from common.study import parse_study
from common.wire.coding import DEFLATED, Coded, CodingError, decode
from server.config import read_run_config
from server.console.actions import parse_action
from server.consortium.revoked import load_revoked
from server.consortium.settings import parse_consortium
from server.first_weights import read_first_weights
from simulations.scenario import parse_scenario

ROOT = Path(__file__).parents[2]
REFUSALS = (GliofedError, UnreadableError, CodingError)
STUDY = (
    b'name = "three"\nsites = ["a", "b"]\nreference_site = "a"\n[stages.generator]\nrounds = 2\n[stages.identifier]\n'
)
SITE = (
    b'name = "a"\nfolder = "/x"\nworkdir = "/y"\n[policy]\nhours = "20:00-06:00"\n[connection]\nproxy = "http://c:1"\n'
)
TABLE = b"participant_id\tpatient_id\tbbb_status\tgrade\nsub-1\tp1\tintact\t2\n"
MONSTERS = (
    b"[" * 20_000,
    b'{"a":' * 20_000,
    b"a = " + b"[" * 5000,
    b".".join([b"a"] * 5000) + b" = 1",
    b"a = " + b"9" * 5000,
    b"a = 0x" + b"f" * 5000,
    b"9" * 5000,
    b'{"a": ' + b"9" * 5000 + b"}",
    b'name = "\xed\xb3\xbf"',
    b'{"name": "\\udcff"}',
    b"participant_id\t" + b"a" * 140_000 + b"\nx\ty\n",
    b"ID,WHO CNS Grade\nUCSF-PDGM-" + b"9" * 5000 + b",4\n",
    b"\0" * 64,
)


def text(blob: bytes) -> str:
    """Whatever stands there, lone surrogates too."""
    return blob.decode("utf-8", "surrogateescape")


def content(blob: bytes, key: str) -> RecordDict:
    return RecordDict({key: ConfigRecord({"json": blob.decode("utf-8", "replace")})})


def placed(blob: bytes, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(blob)
    return path


def arrays(blob: bytes, kind: str) -> ArrayRecord:
    return ArrayRecord({"a": Array(dtype=kind, shape=(2,), stype=RAW, data=blob)})


@cache
def nifti() -> bytes:
    """A small sound image with the extensions that nibabel has parsers of its own for: DICOM, text, CIFTI."""
    image = nib.Nifti1Image(np.arange(216, dtype=np.int16).reshape(6, 6, 6), np.eye(4))
    image.set_sform(image.affine, 1)
    image.set_qform(image.affine, 1)
    for code, held in ((2, b"\x10\x00\x10\x00PN\x04\x00A^B "), (6, b'{"a": 1}'), (32, b"<CIFTI")):
        image.header.extensions.append(Nifti1Extension(code, held))
    return bytes(image.to_bytes())


def parcel(blob: bytes) -> object:
    held = Array(dtype="uint8", shape=(8,), stype=RAW, data=b"12345678")
    whole = wrap(RecordDict({"update": ArrayRecord({"a": held})}))
    return unwrap(RecordDict({INDEX: content(blob, "i")["i"], PARCEL: whole[PARCEL]})), unwrap(
        RecordDict({INDEX: whole[INDEX], PARCEL: ArrayRecord({BYTES: arrays(blob, "uint8")["a"]})})
    )


def codings(blob: bytes) -> None:
    for kind in ("bf16", "int8"):
        for form in (f"gliofed.{kind}", f"gliofed.{kind}{DEFLATED}"):
            with suppress(CodingError):
                decode(Coded(form, blob), kind, (2, 3))


def secure_messages(blob: bytes) -> None:
    for kind in (Advert, Adverts, Boxes, Dealt, Revealed, Signatures, Survivors):
        with suppress(GliofedError):
            read_text(content(blob, "k"), "k", kind)


def texts(blob: bytes) -> None:
    for kind in (Answer, Task, StopOrder):
        with suppress(GliofedError):
            read_text(content(blob, "k"), "k", kind)


def first_weights(blob: bytes, folder: Path) -> object:
    study = parse_study(STUDY.decode() + f'weights_sha256 = "{hashlib.sha256(blob).hexdigest()}"\n')
    return read_first_weights(study, placed(blob, folder / "w.safetensors"))


def checked_site(blob: bytes, folder: Path) -> object:
    """A site of one image, looked at as `gliofed-client check` does."""
    placed(blob, folder / "site" / "ET-1" / "p1" / "T1.nii")
    return check_catalog(survey_folder(folder / "site"), workers=1)


def metrics(blob: bytes) -> object:
    numbers = np.frombuffer(blob[: len(blob) // 8 * 8], np.float64)
    return read_metrics(RecordDict({METRICS: MetricRecord({text(blob)[:40]: float(n) for n in numbers[:2]})}))


def run_config(blob: bytes) -> object:
    return read_run_config({"study": text(blob), "out": text(blob), "roster": "r", text(blob): blob, "run": text(blob)})


Door = tuple[Callable[[bytes, Path], object], bytes]
DOORS: dict[str, Door] = {
    "common.study.parse_study": (lambda blob, _: parse_study(text(blob)), STUDY),
    "common.roster_file.parse_roster": (lambda blob, _: parse_roster(text(blob)), b"[sites.a]\nnode = 7\n"),
    "client.config.parse_site": (lambda blob, folder: parse_site(text(blob), folder), SITE),
    "server.consortium.settings.parse_consortium": (
        lambda blob, _: parse_consortium(text(blob)),
        b'name = "glio"\nhosts = ["server.example"]\nport = 443\n',
    ),
    "server.consortium.revoked.load_revoked": (
        lambda blob, folder: load_revoked(placed(blob, folder / "revoked.toml")),
        b'[[keys]]\nsite = "a"\nnode = 7\nfingerprint = "SHA256:a"\nat = "2026-11-22T01:02:03Z"\n',
    ),
    "simulations.scenario.parse_scenario": (
        lambda blob, _: parse_scenario(text(blob)),
        next((ROOT / "simulations" / "scenarios").glob("three-hospitals*.toml")).read_bytes(),
    ),
    "client.data.layouts.participants.read_participants": (
        lambda blob, folder: read_participants(placed(blob, folder / "participants.tsv")),
        TABLE,
    ),
    "client.data.layouts.participants.read_ucsf_metadata": (
        lambda blob, folder: read_ucsf_metadata(placed(blob, folder / "m.csv")),
        b"ID,Sex,WHO CNS Grade\nUCSF-PDGM-004,M,4\n",
    ),
    "client.data.checks.personal.read_sidecar": (
        lambda blob, folder: read_sidecar(placed(blob, folder / "x.json").with_name("x.nii.gz")),
        b'{"PatientName": "A"}',
    ),
    "client.data.checks.provenance.is_marked": (
        lambda blob, folder: (is_marked(placed(blob, folder / "y.nii.gz")), is_marked(placed(blob, folder / "y.nii"))),
        nifti(),
    ),
    "client.data.checks.reading.read_scan": (
        lambda blob, folder: read_scan(placed(blob, folder / "v.nii")),
        nifti(),
    ),
    "client.imaging.nifti.read_volume": (lambda blob, folder: read_volume(placed(blob, folder / "v.nii")), nifti()),
    "client.data.integrity.check_catalog": (checked_site, nifti()),
    "client.privacy.audit_message.sole_subject": (
        lambda blob, _: sole_subject(content(blob, "task")),
        b'{"run": "0123456789abcdef", "round": 1}',
    ),
    "common.wire.coding.decode": (lambda blob, _: codings(blob), b"\0" * 12),
    "common.parcel.unwrap": (
        lambda blob, _: parcel(blob),
        b'{"records": {"u": [{"name": "a", "dtype": "uint8", "shape": [8], "form": "gliofed.raw", "size": 8}]}}',
    ),
    "common.records.read_text": (lambda blob, _: texts(blob), b'{"site": "a", "code": "ok", "patients": {"g": 3}}'),
    "common.records.read_metrics": (lambda blob, _: metrics(blob), b"training.loss123"),
    "common.records.unpack_tensors": (
        lambda blob, _: unpack_tensors(arrays(blob, "float32"), {"a": Declared("float32", (2,))}),
        b"\0" * 8,
    ),
    "common.secure.words.unpack_words": (lambda blob, _: unpack_words(arrays(blob, "uint32"), {"a": 2}), b"\0" * 8),
    "common.secure.messages.Adverts": (
        lambda blob, _: secure_messages(blob),
        b'{"site": "a", "signature": "00", "mask_keys": {}, "self_seeds": {}}',
    ),
    "common.release.read_release": (
        lambda blob, folder: read_release(placed(blob, folder / "release.json").parent),
        json.dumps({"digest": "0" * 64, "study": {}, "files": {}}).encode(),
    ),
    "common.assessment.dossier.parse_dossier": (
        lambda blob, _: parse_dossier(blob, "x"),
        b'{"schema_version": 1, "sites": {}}',
    ),
    "common.identity.certificates.load_certificates": (
        lambda blob, folder: load_certificates(placed(blob, folder / "c.pem")),
        b"-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUYg==\n-----END CERTIFICATE-----\n",
    ),
    "server.config.read_run_config": (lambda blob, _: run_config(blob), b"0123456789abcdef"),
    "server.console.actions.parse_action": (
        lambda blob, _: parse_action(blob),
        b'{"at": "2026-11-22T01:02:03Z", "who": "a", "what": "pause", "run": "r"}',
    ),
    "server.first_weights.read_first_weights": (first_weights, b"\x02\0\0\0\0\0\0\0{}"),
}
ELSEWHERE = {
    "client.dicom.objects.read_object": "tests/dicom/test_foreign_bytes.py",
    "client.dicom.table.read_decisions": "tests/dicom/test_foreign_bytes.py",
    "client.privacy.audit.AuditLog": "tests/audit/test_audit_log.py",
    "common.approval.study_plan.read_plan": "tests/consent/test_study_plan.py",
    "common.identity.request.read_request": "tests/identity/test_request.py",
    "common.identity.signing.read_signed": "tests/identity/test_signing.py",
    "server.console.accounts.parse_accounts": "tests/console/test_accounts.py",
    "server.facts.fleet.parse_nodes": "tests/coordination/test_facts.py",
    "server.hosting.bundle.read_bundle": "tests/closed/test_bundle.py",
}


def foreign(sample: bytes) -> st.SearchStrategy[bytes]:
    """Any bytes; the sample with some bytes flipped, cut anywhere, or with something put in its midst."""
    places = st.integers(0, len(sample) - 1)
    headers = st.integers(0, min(len(sample), 400) - 1)  # where a damaged byte changes what the rest means
    flips = st.lists(st.tuples(places | headers, st.sampled_from([0, 89, 127, 128, 255]) | st.integers(0, 255)))
    return (
        st.binary(max_size=200)
        | flips.map(lambda edits: bytes(dict(edits).get(at, byte) for at, byte in enumerate(sample)))
        | places.map(lambda at: sample[:at])
        | st.tuples(places, st.binary(max_size=8) | st.sampled_from(MONSTERS)).map(
            lambda put: sample[: put[0]] + put[1] + sample[put[0] :]
        )
    )


@pytest.mark.filterwarnings("ignore")  # nibabel and NumPy warn of what is then refused
@pytest.mark.parametrize("name", DOORS)
def test_no_bytes_end_a_parser_otherwise_than_by_our_own_errors(name: str, tmp_path: Path):
    read, sample = DOORS[name]

    @settings(max_examples=30, deadline=None, database=None)
    @given(blob=foreign(sample))
    def offered(blob: bytes) -> None:
        with suppress(*REFUSALS):
            read(blob, tmp_path)

    for monster in MONSTERS:
        with suppress(*REFUSALS):
            read(monster, tmp_path)
    offered()


@pytest.mark.parametrize("name", [*DOORS, *ELSEWHERE])
def test_every_parser_named_here_exists(name: str):
    module, _, parser = name.rpartition(".")
    assert callable(getattr(import_module(module), parser))


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_parser_that_is_fuzzed_elsewhere_is_fuzzed_there(name: str):
    fuzzing = (ROOT / ELSEWHERE[name]).read_text("utf-8")
    assert "@given" in fuzzing and name.rpartition(".")[2] in fuzzing


def test_check_names_an_image_whose_axes_point_one_way_and_looks_at_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    damaged = bytearray(nifti())
    damaged[319] = 89
    crooked = placed(bytes(damaged), tmp_path / "site" / "ET-1" / "p1" / "T1.nii")
    short = placed(nifti()[:400], tmp_path / "site" / "ET-1" / "p2" / "T1.nii")
    placed(b"participant_id\t" + b"a" * 140_000 + b"\nx\ty\n", tmp_path / "site" / "participants.tsv")
    assert run(app, PROGRAM, ["check", str(tmp_path / "site"), "--json"]) == 3
    said = capsys.readouterr().out
    assert str(crooked) in said and "places no voxel" in said
    assert str(short) in said and "unreadable" in said
    assert "participants.tsv" in said and "field larger" in said
