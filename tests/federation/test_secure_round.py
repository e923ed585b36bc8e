"""A whole run under secure aggregation over the real apps: it equals the plain run, and who leaves when is survived."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import Message
from safetensors.torch import load_file
from scipy.stats import chi2

from client.answers import secure_sum
from client.config import load_site
from client.consent.approvals import NotApprovedError, keep_approval
from client.privacy.masking import Masking
from client.privacy.withdrawal import withdraw_patient
from client.training.tasks import Bench
from common.approval.study_plan import Leaving, SignedPlan
from common.identity.signing import SigningKey
from common.parcel import unwrap
from common.roster_file import Roster, RosterSite, load_roster
from common.secure.signatures import sign
from common.sequences import Sequence
from common.study import Study
from server.approval.make_plan import make_plan
from server.events import RoundFinished
from server.journal import Journal
from server.result import RunResult, SiteFault
from server.secure.transcript import Transcript
from server.study_text import to_toml
from simulations.grid import InProcessGrid
from simulations.roster import ROSTER, keep_signing_key

T1, T2 = Sequence.T1, Sequence.T2
SITES = ("a", "b", "c", "d", "e")
NODE = {site: number for number, site in enumerate(SITES, start=2)}
ONE_ROUND = "rounds = 1\nlocal_steps = 3"
ENABLED = "enabled = true"
IN_CLEAR = "single_owner_heads_in_clear = true\n"


def add_sites(tiny: SimpleNamespace, names: Iterable[str] = SITES, policy: str = "") -> Any:
    """Sites of unequal sizes, each with a key and a copy of the roster of its own."""
    for number, name in enumerate(names):
        tiny.consortium.add(name, number + 1, [T1, T2] if number % 2 else [T1], shift=0.07 * number)
        path = tiny.consortium.sites[name]
        key = keep_signing_key(path.parent / "work")
        own = f'signing_key = "{key}"\nroster = "{key.with_name(ROSTER)}"\n'
        path.write_text(own + path.read_text() + policy)
    return tiny.consortium


def secure_study(tiny: SimpleNamespace, more: str = "", rounds: str = ONE_ROUND, **tables: str) -> Study:
    """Return a study over the sites that were added, with these further lines and tables."""
    study: Study = tiny.make_study(
        list(tiny.consortium.sites),
        secure_aggregation=f"{ENABLED}\n{more}",
        gate="norm_limit = 0.0",
        stages__generator=f"{rounds}\nema_decay = 0.5",
        **tables,
    )
    return study


def weights(out: Path, number: int = 1) -> dict[str, torch.Tensor]:
    return load_file(out / "rounds" / "generator" / str(number) / "global.safetensors")


def faults_on_disk(out: Path) -> list[SiteFault]:
    with Journal.look_into(out) as journal:
        return [fault for fault, _ in journal.noted_faults()]


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, torch.Tensor], dict[str, int]]]:
    """Every update that a site trained, as only the site should ever see it."""
    seen: list[tuple[str, dict[str, torch.Tensor], dict[str, int]]] = []
    allowed = secure_sum._allowed

    def spy(update: Any, site: str, *rest: Any) -> Any:
        kept = allowed(update, site, *rest)
        seen.append((site, dict(kept.outgoing.tensors), dict(kept.outgoing.patients)))
        return kept

    monkeypatch.setattr(secure_sum, "_allowed", spy)
    return seen


@pytest.fixture
def losing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let messages of a type never reach some sites, at most `times`, as when the power fails there."""
    deliver = InProcessGrid._deliver

    def lose(lost: Mapping[str, Iterable[str]], times: int = 1000) -> None:
        left = {
            (f"train.{phase}" if phase else "train", NODE[site]): times for phase, of in lost.items() for site in of
        }

        def wrapped(self: InProcessGrid, message: Message) -> Message:
            key = (message.metadata.message_type, message.metadata.dst_node_id)
            if left.get(key, 0) > 0:
                left[key] -= 1
                self._nodes, kept = {**self._nodes, key[1]: SimpleNamespace(app=_dead, node_config={})}, self._nodes
                try:
                    return deliver(self, message)
                finally:
                    self._nodes = kept
            return deliver(self, message)

        monkeypatch.setattr(InProcessGrid, "_deliver", wrapped)

    return lose


@pytest.fixture
def instead(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let a function stand in for a method of the masking or of the transcript; it is given what it stands in for."""

    def put(owner: Any, name: str, stand_in: Callable[..., Any]) -> None:
        done = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *given: stand_in(done, *given))

    return put


def _dead(message: Message, context: Any) -> Message:
    raise ConnectionError("the power failed")


def assert_left_out(result: RunResult, fault: str) -> None:
    """The one round counts, and one site is not in it."""
    assert result.status == "complete"
    assert [str(each) for each in result.faults] == [f"{fault} (generator round 1)"]


def mean_of(trained: Iterable[Any], sites: Iterable[str], name: str) -> torch.Tensor:
    parts = [(patients["shared"], tensors[name].double()) for site, tensors, patients in trained if site in sites]
    return sum(weight * tensor for weight, tensor in parts) / sum(weight for weight, _ in parts)


def test_a_secure_run_equals_the_plain_run_to_fixed_point_precision(tiny: SimpleNamespace) -> None:
    consortium = add_sites(tiny, policy=IN_CLEAR)
    plain = consortium.run(tiny.make_study(SITES, stages__generator=f"{ONE_ROUND}\nema_decay = 0.5"), out="plain")
    secure = consortium.run(secure_study(tiny), out="secure")
    assert plain.status == secure.status == "complete" and secure.faults == ()
    for folder in ("rounds/generator/1/global", "release/generator"):
        before, after = (load_file(result.out / f"{folder}.safetensors") for result in (plain, secure))
        for name in before:
            assert torch.allclose(before[name], after[name], rtol=2.0**-22, atol=5 * 2.0**-25), name
    said = [records(result.out)[0] for result in (plain, secure)]
    assert [record["metrics"] for record in said] == [said[0]["metrics"]] * 2
    assert [{site: entry["patients"] for site, entry in record["sites"].items()} for record in said] == [
        {site: entry["patients"] for site, entry in said[0]["sites"].items()}
    ] * 2


def test_heads_of_one_owner_stay_at_the_site_unless_its_policy_says_otherwise(tiny: SimpleNamespace) -> None:
    consortium = add_sites(tiny, policy="")
    path = consortium.sites["b"]
    path.write_text(path.read_text() + IN_CLEAR)
    out = consortium.run(secure_study(tiny)).out
    (record,) = records(out)
    assert record["sites"]["a"]["withheld"] == ["domain/a:T1"]
    assert sorted(record["sites"]["a"]["patients"]) == ["shared"]
    assert sorted(record["sites"]["b"]["patients"]) == ["domain/b:T1", "domain/b:T2", "shared"]
    lineage = json.loads((out / "release" / "release.json").read_text())["stages"]["generator"]["lineage"]["groups"]
    assert lineage == {"domain/b:T1": ["b"], "domain/b:T2": ["b"], "shared": list(SITES)}


def test_five_sites_of_which_two_leave_give_the_mean_of_the_three(
    tiny: SimpleNamespace, trained: list[Any], losing: Callable[..., None]
) -> None:
    losing({"shares": ["b"], "masked": ["d"]})
    result = add_sites(tiny).run(secure_study(tiny))
    assert result.status == "complete"
    assert sorted(str(fault) for fault in result.faults) == [
        "b: node-error-2 (generator round 1)",
        "d: node-error-2 (generator round 1)",
    ]
    for name in ("trunk.weight", "trunk.bias"):
        expected = mean_of(trained, ("a", "c", "e"), name)
        assert torch.allclose(weights(result.out)[name].double(), expected, rtol=2.0**-23, atol=5 * 2.0**-25 / 0.5)
    (record,) = records(result.out)
    assert {site for site, entry in record["sites"].items() if entry["code"] == "ok"} == {"a", "c", "e"}


@pytest.mark.parametrize("phase", ["agree", "unmask"])
def test_sites_that_leave_after_sending_their_numbers_are_in_the_sum(
    tiny: SimpleNamespace, trained: list[Any], losing: Callable[..., None], phase: str
) -> None:
    losing({phase: ["b", "d"]})
    result = add_sites(tiny).run(secure_study(tiny))
    assert result.status == "complete" and result.faults == ()
    expected = mean_of(trained, SITES, "trunk.weight")
    assert torch.allclose(weights(result.out)["trunk.weight"].double(), expected, rtol=2.0**-23, atol=5 * 2.0**-25)


@pytest.mark.parametrize("phase", ["", "shares", "masked", "agree", "unmask"])
def test_three_sites_of_which_one_leaves_end_incomplete_and_uncover_nothing(
    tiny: SimpleNamespace, trained: list[Any], losing: Callable[..., None], phase: str
) -> None:
    losing({phase: ["b"]})
    result = add_sites(tiny, SITES[:3]).run(secure_study(tiny))
    assert result.status == "incomplete" and result.release is None
    assert "generator round 1" in str(result.reason)
    assert not (result.out / "rounds").exists() and not (result.out / "release").exists()
    assert {(fault.site, fault.code) for fault in result.faults} == {("b", "node-error-2")}
    assert {(fault.site, fault.round) for fault in faults_on_disk(result.out)} == {("b", 1)}
    assert_no_update_in(result.out, trained)


def test_an_attempt_that_fails_is_followed_by_one_with_fresh_keys_and_without_training(
    tiny: SimpleNamespace, trained: list[Any], losing: Callable[..., None], instead: Callable[..., None]
) -> None:
    kept: list[tuple[int, str, bytes]] = []

    def spy(keep_words: Any, transcript: Transcript, site: str, words: Any) -> None:
        kept.append((transcript.attempt, site, words["shared"].tobytes()))
        keep_words(transcript, site, words)

    instead(Transcript, "keep_words", spy)
    losing({"masked": ["b"]}, times=1)
    result = add_sites(tiny, SITES[:3]).run(secure_study(tiny))
    assert result.status == "complete" and result.faults == ()
    assert [(attempt, site) for attempt, site, _ in kept] == [(1, "a"), (1, "c"), (2, "a"), (2, "b"), (2, "c")]
    assert len({blob for *_, blob in kept}) == 5
    assert sorted(site for site, *_ in trained) == ["a", "b", "c"]


def test_a_sum_that_was_short_of_shares_is_opened_when_the_run_is_resumed(
    tiny: SimpleNamespace, trained: list[Any], losing: Callable[..., None]
) -> None:
    consortium, study = add_sites(tiny, SITES[:3]), secure_study(tiny)
    losing({"unmask": ["b"]}, times=2)
    assert consortium.run(study).status == "incomplete"
    result = consortium.run(study, resume=True)
    assert result.status == "complete" and len(trained) == 3
    expected = mean_of(trained, SITES[:3], "trunk.weight")
    assert torch.allclose(weights(result.out)["trunk.weight"].double(), expected, rtol=2.0**-23, atol=3 * 2.0**-25)


def test_a_site_that_reveals_false_shares_is_left_out_of_the_opening(
    tiny: SimpleNamespace, instead: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    def lying(reveal: Any, masking: Masking, *given: Any) -> Any:
        revealed = reveal(masking, *given)
        if masking.site != "b":
            return revealed
        seeds = {dealer: dict.fromkeys(each, "0" * 132) for dealer, each in revealed.self_seeds.items()}
        return revealed.model_copy(update={"self_seeds": seeds})

    instead(Masking, "reveal", lying)
    result = add_sites(tiny).run(secure_study(tiny))
    assert result.status == "complete" and "b leaves the sum: false-share" in caplog.text


class _Killed(BaseException):
    """The coordinator's process ends here."""


def killing(method: Callable[..., Any], calls: Iterator[int], point: int) -> Callable[..., Any]:
    """Do as `method` does, and die once the call of that number is done."""

    def wrapped(*given: Any) -> Any:
        done = method(*given)
        if next(calls) == point:
            raise _Killed
        return done

    return wrapped


def test_a_coordinator_killed_after_any_write_of_a_sum_resumes_to_the_same_bytes(
    tiny: SimpleNamespace, trained: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secure sum is exact whatever the masks, so that the release of a resumed run has the bytes of any other."""
    consortium, study = add_sites(tiny, SITES[:3]), secure_study(tiny)
    undisturbed = consortium.run(study).out
    for point in (0, 1, 3, 5, 6, 8, 9):
        calls = count()
        with monkeypatch.context() as patch:
            for name in ("keep", "keep_words", "keep_tensors"):
                patch.setattr(Transcript, name, killing(getattr(Transcript, name), calls, point))
            with pytest.raises(_Killed):
                consortium.run(study, where=str(point))
        result = consortium.run(study, where=str(point), resume=True)
        assert result.status == "complete"
        for file in ("release/generator.safetensors", "rounds/generator/1/global.safetensors"):
            assert (result.out / file).read_bytes() == (undisturbed / file).read_bytes(), point
    assert len(trained) == 3 * 8, "no site trains again for a coordinator that was killed"


# ---- the coordinator's disk


class Wide(torch.nn.Linear):
    """A trunk with thousands of weights, so that its bytes cannot stand in a file by chance."""

    def __init__(self) -> None:
        super().__init__(1, 1)
        self.ballast = torch.nn.Parameter(torch.zeros(4096))

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        return super().forward(seen) + 0.01 * (self.ballast * torch.linspace(-1, 1, 4096)).sum()


def assert_no_update_in(out: Path, trained: Iterable[Any]) -> None:
    """No file of the run holds four neighbouring weights of any site's update, in float32 or float64."""
    blobs = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for site, tensors, _ in trained:
        for name, tensor in tensors.items():
            flat = tensor.reshape(-1)
            for part in (flat[:4], flat[-4:]) if flat.numel() >= 4 else ():
                for needle in (part.numpy().tobytes(), part.double().numpy().tobytes()):
                    found = [path for path, blob in blobs.items() if needle in blob]
                    assert not found, f"{site}'s {name} stands in {found}"


def wide_run(tiny: SimpleNamespace, rounds: str = ONE_ROUND) -> RunResult:
    """Run a secure study over the sites that were added, with a wide trunk."""

    def build(*given: Any) -> torch.nn.Module:
        model: Any = tiny.build(*given)
        model.trunk = Wide()
        return model

    bench = Bench(build, tiny.linear_step(), torch.device("cpu"))
    return tiny.consortium.run(secure_study(tiny, rounds=rounds), bench=bench)


def test_no_file_and_no_message_of_the_run_ever_holds_one_sites_update(
    tiny: SimpleNamespace, trained: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked for before each message is delivered; what came back masked is uniform bytes."""
    looked: list[int] = []
    masked: list[bytes] = []
    deliver = InProcessGrid._deliver

    def looking(self: InProcessGrid, message: Message) -> Message:
        assert_no_update_in(tiny.consortium.root / "run", trained)
        looked.append(len(trained))
        kind, answer = message.metadata.message_type, deliver(self, message)
        records = unwrap(answer.content).array_records.values()
        arrays = {key: array for record in records for key, array in record.items()}
        assert set(arrays) == ({"shared"} if kind == "train.masked" else set()), kind
        masked.extend(array.data for array in arrays.values())
        return answer

    monkeypatch.setattr(InProcessGrid, "_deliver", looking)
    add_sites(tiny)
    result = wide_run(tiny, rounds="rounds = 2\nlocal_steps = 3")
    assert result.status == "complete" and looked[-1] == 10
    assert_no_update_in(result.out, trained)
    assert all(bool(tensors["trunk.ballast"].any()) for _, tensors, _ in trained)
    assert len(masked) == 10
    for blob in masked:
        counts = np.bincount(np.frombuffer(blob, dtype=np.uint8), minlength=256)
        assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < chi2.isf(1e-11, 255)


def test_the_search_does_find_an_update_where_there_is_one(
    tiny: SimpleNamespace, trained: list[Any], tmp_path: Path
) -> None:
    add_sites(tiny)
    result = wide_run(tiny)
    (result.out / "leak").write_bytes(b"x" + trained[0][1]["trunk.ballast"].numpy().tobytes())
    with pytest.raises(AssertionError, match=r"trunk\.ballast stands in"):
        assert_no_update_in(result.out, trained)


# ---- what a site needs


def test_a_site_without_a_key_is_named(tiny: SimpleNamespace) -> None:
    consortium = add_sites(tiny, SITES[:4])
    path = consortium.sites["b"]
    path.write_text("\n".join(line for line in path.read_text().splitlines() if "signing_key" not in line))
    result = consortium.run(secure_study(tiny))
    assert_left_out(result, "b: study")


def test_a_site_whose_key_the_coordinators_roster_does_not_pin_is_left_out(
    tiny: SimpleNamespace, instead: Callable[..., None]
) -> None:
    consortium = add_sites(tiny, SITES[:4])
    config = load_site(consortium.sites["b"])

    def with_another_key(advertise: Any, masking: Masking, *given: Any) -> Any:
        if masking.site == "b":
            config.signing_key.unlink()
            keep_signing_key(config.workdir)
            masking = secure_sum._masking(config, given[0])
        return advertise(masking, *given)

    instead(Masking, "advertise", with_another_key)
    result = consortium.run(secure_study(tiny))
    assert_left_out(result, "b: unknown-signer")
    assert records(result.out)[0]["sites"]["b"]["code"] == "unknown-signer"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"cipher_key": "00" * 32}, "bad-key"),
        ({"mask_key": "01" + "00" * 31}, "bad-key"),
        ({"received": {"shared": "e" * 64}}, "other-model"),
        ({"attempt": {"global_sha256": "f" * 64}}, "other-attempt"),
    ],
)
def test_keys_that_the_other_sites_would_refuse_leave_one_site_out_and_the_round_goes_on(
    tiny: SimpleNamespace, instead: Callable[..., None], changes: dict[str, Any], code: str
) -> None:
    """They are signed by a member; had they gone to the others, nobody would have dealt shares in any attempt."""
    consortium = add_sites(tiny, SITES[:4])

    def spoilt(advertise: Any, masking: Masking, *given: Any) -> Any:
        advert = advertise(masking, *given)
        if masking.site != "b":
            return advert
        new = dict(changes)
        if "attempt" in new:
            new["attempt"] = advert.attempt.model_copy(update=new["attempt"])
        advert = advert.model_copy(update=new)
        return advert.model_copy(update={"signature": sign(masking.key, advert.signed).hex()})

    instead(Masking, "advertise", spoilt)
    result = consortium.run(secure_study(tiny))
    assert_left_out(result, f"b: {code}")


def test_a_later_stage_is_summed_over_sites_that_sign_the_same_plan_and_earlier_models(
    tiny: SimpleNamespace, instead: Callable[..., None]
) -> None:
    signed: list[dict[str, str]] = []

    def spy(advertise: Any, masking: Masking, attempt: Any, rules: Any, patients: Any, received: Any) -> Any:
        signed.append(dict(received))
        return advertise(masking, attempt, rules, patients, received)

    instead(Masking, "advertise", spy)
    result = add_sites(tiny, SITES[:3]).run(secure_study(tiny, stages__synthesiser=ONE_ROUND))
    assert result.status == "complete" and result.faults == () and len(signed) == 6
    assert len({each["plan"] for each in signed}) == 1
    assert len({each["earlier/generator"] for each in signed[3:]}) == 1


# ---- norms of each site's own


def test_all_sites_begin_with_the_same_norms_and_sign_which_whenever_they_begin(
    tiny: SimpleNamespace, instead: Callable[..., None]
) -> None:
    """Else norms of scale 0 at all sites but one would let that one's update stand out; here c begins twice."""
    begun: list[tuple[str, str | None]] = []

    def spy(advertise: Any, masking: Masking, attempt: Any, rules: Any, patients: Any, received: Any) -> Any:
        begun.append((masking.site, received.get("norms")))
        return advertise(masking, attempt, rules, patients, received)

    def build(*given: Any) -> torch.nn.Module:
        model: Any = tiny.build(*given)
        model.norm = torch.nn.LayerNorm(1)
        model.LOCAL_NORMS = frozenset({"norm.weight", "norm.bias"})
        return model

    def moving(stage: Any) -> Any:
        def build_step(model: Any, place: Any) -> Any:
            step = tiny.linear_step()(stage)(model, place)
            loss = step._loss
            step._loss = lambda batch: loss(batch) + (model.norm.bias - batch.images[T1].mean()).square().sum()
            return step

        return build_step

    def forget(event: Any) -> None:
        if isinstance(event, RoundFinished) and event.round == 1:
            for path in tiny.consortium.root.glob("sites/c/work/state/*/generator/*"):
                path.unlink()

    instead(Masking, "advertise", spy)
    consortium = add_sites(tiny, SITES[:3])
    study = secure_study(tiny, rounds="rounds = 3\nlocal_steps = 3", aggregation="local_norms = true")
    result = consortium.run(study, on_event=forget, bench=Bench(build, moving, torch.device("cpu")))
    assert result.status == "complete" and result.faults == ()
    assert len({digest for _, digest in begun}) == 1 and begun[0][1] is not None and len(begun) == 9
    own = [load_file(path)["norm.bias"] for path in consortium.root.glob("sites/*/work/state/*/generator/3.local.*")]
    assert len({float(bias) for bias in own}) == 3, "each site goes on with its own"


# ---- withdrawn patients


@pytest.mark.parametrize("moment", ["while it trains", "before the masks", "before another attempt"])
def test_a_patient_who_is_withdrawn_before_the_update_leaves_is_in_no_sum(
    tiny: SimpleNamespace,
    trained: list[Any],
    losing: Callable[..., None],
    instead: Callable[..., None],
    moment: str,
) -> None:
    consortium = add_sites(tiny, SITES[:3])
    work = consortium.sites["c"].parent / "work"
    place, name = {
        "while it trains": (secure_sum, "_allowed"),
        "before the masks": (Transcript, "keep_words"),
        "before another attempt": (Transcript, "abandon"),
    }[moment]

    def withdrawing(done: Any, *given: Any) -> Any:
        if moment != "while it trains" or given[1] == "c":
            withdraw_patient(work, "patient-1")
        return done(*given)

    instead(place, name, withdrawing)
    losing({"masked": ["b"]}, times=1)
    result = consortium.run(secure_study(tiny))
    assert result.status == "complete" and result.faults == ()
    (record,) = records(result.out)
    assert record["sites"]["c"]["patients"]["shared"] == 2
    counts = [patients["shared"] for site, _, patients in trained if site == "c"]
    assert counts[-1] == 2
    (entry,) = json.loads((result.out / "withdrawn.json").read_text())
    assert (entry["site"], entry["patients"], entry["rounds"]) == ("c", 1, [])


# ---- a policy or a plan that changes meanwhile


@pytest.mark.parametrize("moment", ["keep_words", "abandon"])
def test_an_update_is_not_summed_under_another_policy_than_it_was_kept_under(
    tiny: SimpleNamespace,
    trained: list[Any],
    losing: Callable[..., None],
    instead: Callable[..., None],
    moment: str,
) -> None:
    """Changed before its masks, or before another attempt."""
    consortium = add_sites(tiny, SITES[:3], policy=IN_CLEAR)
    path = consortium.sites["c"]

    def changing(done: Any, *given: Any) -> Any:
        path.write_text(path.read_text().replace(IN_CLEAR, ""))
        return done(*given)

    instead(Transcript, moment, changing)
    losing({"masked": ["b"]}, times=1)
    result = consortium.run(secure_study(tiny))
    assert result.status == "complete" and result.faults == ()
    (record,) = records(result.out)
    assert record["sites"]["c"]["withheld"] == ["domain/c:T1"]
    assert [site for site, *_ in trained].count("c") == 2


def test_no_update_is_masked_that_the_plan_approved_now_does_not_name(
    tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    consortium = add_sites(tiny, SITES[:4])
    own = load_site(consortium.sites["c"])

    def approved(workdir: Path, *_: Any) -> Any:
        nothing = Leaving({}, frozenset())
        narrow = workdir == own.workdir
        return SimpleNamespace(roster=load_roster(own.roster), leaving=lambda stage: nothing) if narrow else None

    monkeypatch.setattr(secure_sum, "require_approval", approved)
    result = consortium.run(secure_study(tiny))
    assert_left_out(result, "c: not-covered")


def test_a_patient_who_is_withdrawn_after_the_masks_has_touched_that_round(
    tiny: SimpleNamespace, instead: Callable[..., None]
) -> None:
    consortium = add_sites(tiny, SITES[:3])

    def withdrawing(agree: Any, masking: Masking, survivors: Any) -> Any:
        if survivors.attempt.round == 2:
            withdraw_patient(consortium.sites["c"].parent / "work", "patient-1")
        return agree(masking, survivors)

    instead(Masking, "agree", withdrawing)
    result = consortium.run(secure_study(tiny, rounds="rounds = 3\nlocal_steps = 3"))
    assert result.status == "complete"
    assert [record["sites"]["c"]["patients"]["shared"] for record in records(result.out)] == [3, 3, 2]
    (entry,) = json.loads((result.out / "withdrawn.json").read_text())
    assert entry["rounds"] == [["generator", 1], ["generator", 2]]


def test_an_update_beyond_the_clip_stays_at_the_site(tiny: SimpleNamespace) -> None:
    result = add_sites(tiny).run(secure_study(tiny, more="clip = 0.01"))
    assert result.status == "incomplete" and "beyond-clip" in str(result.reason)


def test_a_site_that_took_its_consent_back_is_named_with_what_to_do(
    tiny: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = secure_sum._allowed

    def refuse(update: Any, site: str, *rest: Any) -> Any:
        if site == "c":
            raise NotApprovedError("nobody here approves it any more")
        return allowed(update, site, *rest)

    monkeypatch.setattr(secure_sum, "_allowed", refuse)
    result = add_sites(tiny, "abc").run(secure_study(tiny))
    said = "; c has not approved the plan: approve the plan at the site, then `gliofed-server resume`"
    assert result.status == "incomplete" and str(result.reason).endswith(said)


def test_a_secure_run_needs_no_more_bytes_up_than_twice_the_plain_ones(tiny: SimpleNamespace) -> None:
    add_sites(tiny, policy=IN_CLEAR)
    result = wide_run(tiny)
    (record,) = records(result.out)
    for entry in record["sites"].values():
        assert entry["bytes_up"] < 2 * 4 * 4096


def test_the_keys_of_the_approved_plan_are_trusted_and_no_other_roster(tiny: SimpleNamespace) -> None:
    def keys(other: str = "") -> Roster:
        seats = {}
        for site in "abc":
            own = SigningKey.load(load_site(consortium.sites[site]).signing_key)
            key = SigningKey.generate() if site == other else own
            seats[site] = RosterSite(node=NODE[site], signing_key=key.public.pem)
        return Roster(sites=seats)

    consortium, study = add_sites(tiny, "abc"), secure_study(tiny)
    for site in "abc":
        path = consortium.sites[site]
        kept = [line for line in path.read_text().splitlines() if not line.startswith(("roster", "approve_everything"))]
        path.write_text("\n".join(kept) + "\n")
    for other, status in (("b", "incomplete"), ("", "complete")):
        plan = make_plan(to_toml(study), keys(other), {}, None, date(2026, 11, 22), tiny.build)
        for site in "abc":
            keep_approval(load_site(consortium.sites[site]).workdir, SignedPlan(plan=plan, signature=""), "a person")
        assert consortium.run(study, out=f"run-{other or 'right'}").status == status
