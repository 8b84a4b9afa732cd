"""Study files: what they expand to, and what a wrong one is told."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metaformer_nlp.config.yaml_text import read_yaml
from metaformer_nlp.study.protocol.file import Names, load_study, study_from_mapping, study_to_mapping
from metaformer_nlp.study.protocol.study import (
    Arm,
    Claim,
    Domain,
    KnownAnswer,
    Scale,
    Study,
    TaskScore,
    Tune,
    Until,
)
from metaformer_nlp.study.runner.cell import load_experiment
from tasks.experiments import EXPERIMENTS, FORMER_NAMES
from tests.study.protocol.test_study import tune

Make = Callable[[dict[str, Any]], Study]
ROOT = Path(__file__).parents[3]


def known(data: dict[str, Any], **changes: Any) -> None:
    data["expected"] = [{"arm": "identity", "reference": "pooling", "sign": "lower", "source": "a paper", **changes}]


def scale(data: dict[str, Any], **changes: Any) -> None:
    data["scale"] = [{"axis": "epochs", "domains": {"vision": 0.5, "text": 1}, **changes}]


def test_a_study_survives_being_written_out(study_data: dict[str, Any], make_study: Make) -> None:
    study = make_study(study_data)
    again = study_from_mapping(study_to_mapping(study), "again")
    assert [cell.digest for cell in again.cells()] == [cell.digest for cell in study.cells()]
    assert again.domain("text").tasks == study.domain("text").tasks
    assert again.domain("text").experiment == "toy_experiment.py", "no path of the machine where it ran"


def test_what_a_later_analysis_uses_is_kept(study_data: dict[str, Any], make_study: Make) -> None:
    plain = study_to_mapping(make_study(study_data))
    assert not {"control", "expected", "scale"} & set(plain), "reports without them stay as they are"
    known(study_data, size=0.029, domains=["text"])
    scale(study_data, margin=0.01)
    study_data |= {"control": "identity", "claim": {"arm": "pooling"}}  # half of the gain where no share is named
    study = make_study(study_data)
    data = study_to_mapping(study)
    assert data["control"] == "identity"
    assert data["claim"] == {"arm": "pooling", "gain": 0.5}
    answer = {"arm": "identity", "reference": "pooling", "sign": "lower", "size": 0.029, "source": "a paper"}
    assert data["expected"] == [{**answer, "domains": ["text"]}]
    assert data["scale"] == [{"axis": "epochs", "domains": {"vision": 0.5, "text": 1}, "margin": 0.01}]
    again = study_from_mapping(data, "again")
    assert (again.control, again.claim, again.expected, again.scale) == (
        study.control, study.claim, study.expected, study.scale,
    )  # fmt: skip


def test_widening_and_further_seeds_are_kept_and_change_no_run(study_data: dict[str, Any]) -> None:
    study_data["seeds"] = [0, 1, 2]
    tune(study_data, values=[0.1, 0.2, 0.4])
    before = study_from_mapping(copy.deepcopy(study_data), "file")
    plain = study_to_mapping(before)
    assert "until" not in plain
    assert not {"widen", "beat_control"} & set(plain["domains"]["vision"]["tune"])
    tune(study_data, values=[0.1, 0.2, 0.4], widen=2, beat_control=True)
    study_data |= {"control": "identity", "until": {"half_width": 0.02, "most": 5}}
    study = study_from_mapping(study_data, "file")
    for made in (Study.trials, Study.cells):
        assert [(cell.key, cell.digest) for cell in made(study)] == [(cell.key, cell.digest) for cell in made(before)]
    again = study_from_mapping(study_to_mapping(study), "again")
    assert (again.until, again.domains[0].tune) == (study.until, study.domains[0].tune)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(basline="x"), "unknown key 'basline'; did you mean 'baseline'?"),
        (lambda s: s.pop("question"), "'question' is missing"),
        (lambda s: s.update(baseline="no_residual"), "'no_residual' is no mixer arm; choose one of attention, pooling"),
        (lambda s: s.update(seeds=[0, 0]), "repeat a seed"),
        (lambda s: s.update(seeds=3), "seeds must be a list"),
        (lambda s: s.update(parallel=0), "parallel must be a whole number"),
        (lambda s: s.update(arms={}), "arms must be a mapping with at least one entry"),
        (lambda s: s["arms"]["pooling"].update(kind="mixr"), "arms.pooling.kind is 'mixr'; it must be one of mixer"),
        (lambda s: s["arms"]["no_residual"].pop("of"), "arms.no_residual.of must name the arm"),
        (lambda s: s["arms"]["no_residual"].update(of="no_residual"), "arms.no_residual.of must name the arm"),
        (lambda s: s["arms"]["pooling"].update(of="attention"), "arms.pooling.of is for architecture arms"),
        (lambda s: s["arms"]["pooling"].update(domains=["txt"]), "names domain 'txt'; known: vision, text"),
        (lambda s: s["arms"]["pooling"]["set"].update({"run.seed": 1}), "'run.seed' belongs to the runner"),
        (lambda s: s["arms"].update({"a/b": s["arms"]["pooling"]}), "'a/b' must be a name of at most 80 letters"),
        (
            lambda s: s["domains"]["text"].update(metrics="x"),
            "domains.text: unknown key 'metrics'; did you mean 'metric'?",
        ),
        (lambda s: s["domains"]["text"].update(config="nowhere.yaml"), "there is no file nowhere.yaml"),
        (lambda s: s["domains"]["text"].update(chance=[1]), "chance must be a finite number or the key of a metric"),
        (lambda s: s.update(name="a/b"), "name: 'a/b' must be a name of at most 80 letters"),
        (lambda s: s.update(references=["poling"]), "references names arm 'poling'; did you mean 'pooling'?"),
        (lambda s: s.update(references=["attention"]), "must be different arms beside the baseline attention"),
        (lambda s: s.update(references=["pooling", "pooling"]), "must be different arms beside the baseline"),
        (
            lambda s: (s.update(references=["identity"]), s["arms"]["identity"].update(domains=["text"])),
            "references: arm 'identity' does not run in domain 'vision'",
        ),
        (
            lambda s: s["arms"]["attention"].update(domains=["text"]),
            "baseline: arm 'attention' does not run in domain 'vision'",
        ),
        (
            lambda s: s["arms"]["pooling"].update(domains=["text"]),
            "arms.no_residual runs in domain 'vision' and 'pooling', which it was made from, does not",
        ),
        (
            lambda s: s["arms"]["identity"].update(domains=["text"], set_in={"vision": {"seconds": 1}}),
            "arms.identity.set_in has settings for domain 'vision', in which the arm does not run",
        ),
        (
            lambda s: s.update(claim={"arm": "pooling", "retains": 90}),
            "claim.retains must be a share above 0 and at most",
        ),
        (lambda s: s.update(claim={"arm": "pooling", "retains": 0}), "claim.retains must be a share above 0"),
        (lambda s: s.update(claim={"arm": "attention", "retains": 0.9}), "must be a mixer other than the baseline"),
        (lambda s: s.update(claim={"arm": "pooling"}), "claim says nothing of 'pooling'; give it 'retains'"),
        (lambda s: s.update(claim={"arm": "pooling", "gain": 0.5}), "such as 'control: identity'"),
        (
            lambda s: s.update(claim={"arm": "pooling", "gain": 0.5}, control="pooling"),
            "claim.arm is the control, 'pooling'",
        ),
        (lambda s: s.update(claim={"arm": "poling"}, control="identity"), "claim.arm: there is no arm 'poling' under"),
        (lambda s: s.update(control="identiti"), "no arm 'identiti' under 'arms'; did you mean 'identity'?"),
        (
            lambda s: s.update(claim={"arm": "pooling", "gain": 50}, control="identity"),
            "claim.gain must be a share above 0 and at most 1 of the baseline's score above the control's",
        ),
        (lambda s: s.update(control="attention"), "must be the mixer arm that mixes nothing and not the baseline"),
        (lambda s: s.update(control="no_residual"), "control 'no_residual' must be the mixer arm"),
        (
            lambda s: (s.update(control="identity"), s["arms"]["identity"].update(domains=["text"])),
            "control: arm 'identity' does not run in domain 'vision'",
        ),
        (lambda s: s.update(expected={"arm": "identity"}), "expected must be a list, each item beginning with '-'"),
        (lambda s: known(s, arm="idntity"), "expected[0].arm names arm 'idntity'; did you mean 'identity'?"),
        (lambda s: known(s, reference="x"), "expected[0].reference names arm 'x'; allowed: attention, pooling"),
        (lambda s: known(s, reference="identity"), "compares 'identity' with itself"),
        (lambda s: known(s, sign="-"), "expected[0].sign must be higher or lower"),
        (lambda s: known(s, size=-0.029), "expected[0].size must be the published difference without its sign"),
        (lambda s: known(s, source=None), "'source' is missing"),
        (lambda s: known(s, domains=["txt"]), "expected[0].domains names domain 'txt'; did you mean 'text'?"),
        (
            lambda s: (known(s, domains=["vision", "text"]), s["arms"]["identity"].update(domains=["text"])),
            "'identity' and 'pooling' do not both run in vision; both run in text",
        ),
        (lambda s: s.update(scale={"epochs": {"vision": 1, "text": 2}}), "scale must be a list"),
        (lambda s: scale(s, axis="steps"), "scale[0].axis is 'steps'; it must be one of tokens, epochs, parameters"),
        (lambda s: scale(s, domains={"vision": 1}), "scale[0].domains must be two domains or more"),
        (lambda s: scale(s, domains={"vision": 2, "text": 1}), "each with a larger number of epochs than the one"),
        (lambda s: scale(s, domains={"vision": 1, "text": 1}), "each with a larger number of epochs than the one"),
        (lambda s: scale(s, domains={"vision": 0, "text": 1}), "domains.vision must be a number of epochs above 0"),
        (lambda s: scale(s, domains={"vision": 1, "txt": 2}), "domains names domain 'txt'; did you mean 'text'?"),
        (lambda s: scale(s, margin=0), "scale[0].margin must be a number between 0 and 1"),
        (
            lambda s: (scale(s), s["domains"]["text"].update(metric="validation/topic")),
            "must have one metric, so that differences can be compared, not vision: validation/accuracy, text",
        ),
        (lambda s: s.update(until={"half_width": 0, "most": 5}), "until.half_width must be a number between 0 and 1"),
        (lambda s: s.update(until={"half_width": 0.1, "most": 21}), "until.most must be a whole number from 3 to 20"),
        (lambda s: s.update(until={"half_width": 0.1}), "'most' is missing"),
        (lambda s: s.update(until={"half_width": 0.1, "most": 5}), "and there are 2; list 3 or more under 'seeds'"),
        (
            lambda s: s.update(until={"half_width": 0.1, "most": 3}, seeds=[0, 1, 2, 3]),
            "up to 3, and there are 4; list 3 or more",
        ),
        (
            lambda s: (
                s.update(until={"half_width": 0.1, "most": 5}, seeds=[0, 1, 2], claim={"arm": "pooling", "retains": 1}),
                s["arms"]["pooling"].update(seeds=[0]),
            ),
            "until looks at 'pooling', which must run with all seeds; take arms.pooling.seeds out",
        ),
        (lambda s: tune(s, widen=5), "tune.widen must be a whole number from 0 to 4"),
        (lambda s: tune(s, widen=1, values=[0.1, 0.2, 0.8]), "tune.widen: what lies beyond the values"),
        (lambda s: tune(s, widen=1, values=[1, 2, 4]), "numbers above 0 with a decimal point"),
        (lambda s: tune(s, widen=1, values=["a", "b"]), "tune.widen: what lies beyond the values"),
        (lambda s: tune(s, widen=1, values=[0.0, 0.1]), "tune.widen: what lies beyond the values"),
        (lambda s: tune(s, beat_control=1), "tune.beat_control must be true or false, not 1"),
        (lambda s: tune(s, beat_control=True), "vision.tune.beat_control keeps an arm's seconds as it is"),
        (
            lambda s: (
                tune(s, beat_control=True),
                s.update(control="identity"),
                s["domains"]["vision"].update(config=[{}]),
            ),
            "name the arm that mixes nothing, such as 'control: identity', and set seconds in config or set",
        ),
        (lambda s: s["domains"]["text"].update(margin=0), "domains.text.margin must be a number between 0 and 1"),
        (lambda s: s["domains"]["text"].update(margin="2 %"), "domains.text.margin must be a number between 0 and 1"),
        (lambda s: s["domains"]["text"].update(expected_seconds=-1), "expected_seconds must be a number above 0"),
        (lambda s: s["domains"]["text"].update(metric=3), "domains.text.metric must be a text"),
        (lambda s: s["domains"]["text"].update(metric="validation/loss"), "'validation/loss', of which less is better"),
        (
            lambda s: s["domains"]["text"]["tasks"].update(topic="topic/perplexity"),
            "domains.text.tasks.topic.metric is 'topic/perplexity', of which less is better",
        ),
        (
            lambda s: s["domains"]["text"].update(equal={"flops": 0.1}),
            "text.equal: there is no budget 'flops'; allowed: steps, samples, tokens, parameters, macs, seconds.",
        ),
        (lambda s: s["domains"]["text"].update(equal={"steps": -0.1}), "equal.steps must be a share from 0 on"),
        (lambda s: s["domains"]["text"].update(equal={"steps": True}), "equal.steps must be a share from 0 on"),
        (lambda s: s["domains"]["text"].update(equal=["steps"]), "domains.text.equal must map budgets to"),
        (lambda s: s["domains"]["text"].update(axis="distance"), "names must end in a number"),
        (lambda s: s["domains"]["vision"].update(axis="distance"), "names must end in a number, such as order-8"),
        (lambda s: s["domains"]["vision"].update(after="text"), "vision.after must name a domain above it"),
        (lambda s: s["domains"]["text"].update(after="txt"), "not 'txt'; above it: vision"),
        (
            lambda s: s["domains"]["text"].update(set={"trouble": "{after}/model"}),
            "domains.text: set has {after} in 'trouble', but the domain comes after none",
        ),
        (
            lambda s: s["domains"]["text"].update(config=[{"model": {"token_mixer": "{after}"}}]),
            "domains.text: config has {after} in 'model.token_mixer'",
        ),
        (
            lambda s: (s["domains"]["text"].update(after="vision"), s["arms"]["identity"].update(domains=["text"])),
            "arm 'identity' runs here and not in 'vision', whose cells it would start from",
        ),
        (lambda s: tune(s, key="run.seed"), "'run.seed' belongs to the runner"),
        (lambda s: tune(s, key="run.folder"), "'run.folder' belongs to the runner"),
        (lambda s: tune(s, key="optim lr"), "tune.key must be one dotted key"),
        (lambda s: tune(s, key=["a", "b"]), "tune.key must be one dotted key"),
        (lambda s: tune(s, values=[0.1]), "tune.values must be a list of at least two values"),
        (lambda s: tune(s, values=[0.1, 0.2, 0.1]), "has a value twice"),
        (lambda s: tune(s, set={"seconds": 3}), "tune.set sets 'seconds', which is what is tuned"),
        (lambda s: tune(s, set={"run.seed": 3}), "'run.seed' belongs to the runner"),
        (lambda s: tune(s, metric=None), "'metric' is missing"),
        (
            lambda s: tune(s, metric="held_out/masked_perplexity"),
            "take one of which more is better, or one that ends in",
        ),
        (lambda s: tune(s, tiral=3), "tune: unknown key 'tiral'; did you mean 'trials'?"),
        (lambda s: tune(s, trials=0), "tune.trials must be a whole number from 1 on"),
        (
            lambda s: tune(s, trials=3),
            "tune.trials asks for 3 trials of each value, which run with the study's first seeds",
        ),
        (lambda s: tune(s, tie=-0.1), "tune.tie must be a number from 0 on"),
    ],
)
def test_a_wrong_study_is_told_what_where_and_how(
    study_data: dict[str, Any], make_study: Make, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    change(study_data)
    with pytest.raises(ValueError, match=re.escape(message)):
        make_study(study_data)


def test_yaml_with_a_repeated_key_is_refused() -> None:
    with pytest.raises(ValueError, match=r"file\.yaml: line 2: the key 'a' is there twice"):
        read_yaml("a: 1\na: 2\n", "file.yaml")
    with pytest.raises(ValueError, match=r"file.yaml: line 2: a key must be a word or a number, not \['x', 'y'\]"):
        read_yaml("a: 1\n? [x, y]\n: 2\n", "file.yaml")
    assert read_yaml("a: 1.5e3\nb: .5\nc: 1.\nd: .inf\ne: 12\nf: 1e3x\n", "x") == {
        "a": 1500.0, "b": 0.5, "c": 1.0, "d": float("inf"), "e": 12, "f": "1e3x",
    }  # fmt: skip
    assert read_yaml("a: 1e-3\nb: 2.5\nc: e5\n", "x") == {"a": 0.001, "b": 2.5, "c": "e5"}


def test_a_domain_may_be_as_another_but_for_one_thing(tmp_path: Path) -> None:
    """YAML's anchors and merge keys, also one after the other: a grid of settings."""
    path = tmp_path / "study.yaml"
    path.write_text(
        """
name: grid
question: What survives?
baseline: attention
domains:
  base: &base
    experiment: tasks.digits
    config: [{model: {norm: layer_norm}}]
    metric: accuracy
    chance: 0.1
    margin: 0.02
    equal: {steps: 0}
    tune: &tune {key: optim.lr, values: [1e-3, 3e-3], metric: held_out/accuracy}
  group_norm: &group_norm
    <<: *base
    set: {model.norm: group_norm}
  untuned: {<<: *base, tune: null}
  both:
    <<: *group_norm
    margin: 0.03
    tune: {<<: *tune, values: [1e-2, 3e-2]}
arms:
  attention: {kind: mixer, set: {}}
  pooling: {kind: mixer, set: {model.token_mixer: pooling}}
seeds: [0]
"""
    )
    study = load_study(path)
    assert [domain.name for domain in study.domains] == ["base", "group_norm", "untuned", "both"]
    assert [domain.margin for domain in study.domains] == [0.02, 0.02, 0.02, 0.03]
    assert [dict(domain.set) for domain in study.domains][1:3] == [{"model.norm": "group_norm"}, {}]
    assert study.domain("both").set == {"model.norm": "group_norm"}
    assert [domain.tune and domain.tune.values for domain in study.domains] == [
        (0.001, 0.003),
        (0.001, 0.003),
        None,
        (0.01, 0.03),
    ]
    assert study.domain("both").equal == {"steps": 0.0}
    assert study_from_mapping(study_to_mapping(study), "again").domains == study.domains


@pytest.mark.parametrize("path", sorted(ROOT.glob("scripts/recipes/studies/*.yaml")), ids=lambda path: path.stem)
def test_the_committed_studies_are_valid(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    study = load_study(path)
    assert study.name == path.stem
    assert len({cell.key for cell in (*study.trials(), *study.cells())}) >= 12
    again = study_from_mapping(study_to_mapping(study), "again")
    assert [cell.digest for cell in again.cells()] == [cell.digest for cell in study.cells()]


def test_a_cell_is_the_same_under_its_experiments_name_and_module(
    study_data: dict[str, Any], write_study: Callable[[dict[str, Any]], Path]
) -> None:
    """The digest is that of the module's name, as it was before there were names."""
    digests = {}
    for name in ("tasks.glue_finetuning", "glue"):
        for domain in study_data["domains"].values():
            domain["experiment"] = name
        study = load_study(write_study(study_data), Names(EXPERIMENTS, FORMER_NAMES))
        assert study_to_mapping(study)["domains"]["text"]["experiment"] == "tasks.glue_finetuning"
        digests[name] = [cell.digest for cell in study.cells()]
    assert digests["glue"] == digests["tasks.glue_finetuning"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_experiment_that_has_a_name_is_one(name: str) -> None:
    assert load_experiment(EXPERIMENTS[name]).__name__ == EXPERIMENTS[name]


def test_an_unknown_experiment_is_told_the_nearest(
    study_data: dict[str, Any], write_study: Callable[[dict[str, Any]], Path]
) -> None:
    def load(name: str) -> Study:
        study_data["domains"]["text"]["experiment"] = name
        return load_study(write_study(study_data), Names(EXPERIMENTS, FORMER_NAMES))

    with pytest.raises(ValueError, match=r"domains\.text\.experiment: .* 'masked_ml'; did you mean 'masked_lm'"):
        load("masked_ml")
    with pytest.raises(ValueError, match=r"there is no experiment 'x'; allowed: image_classification, masked_image"):
        load("x")
    assert load("json").domain("text").experiment == "json", "a module of the user's own"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no study file .*nothing\.yaml"):
        load_study(tmp_path / "nothing.yaml")


NOT_FINITE = [float("nan"), float("inf"), -float("inf"), 10**400]
NUMBERS: dict[str, Callable[[dict[str, Any], Any], Any]] = {
    "domains.vision.chance": lambda s, value: s["domains"]["vision"].update(chance=value),
    "domains.vision.margin": lambda s, value: s["domains"]["vision"].update(margin=value),
    "domains.vision.expected_seconds": lambda s, value: s["domains"]["vision"].update(expected_seconds=value),
    "domains.vision.equal.steps": lambda s, value: s["domains"]["vision"].update(equal={"steps": value}),
    "domains.vision.config": lambda s, value: s["domains"]["vision"].update(config={"a": {"b": [value]}}),
    "domains.vision.set": lambda s, value: s["domains"]["vision"].update(set={"seconds": value}),
    "domains.text.tasks.topic.chance": lambda s, value: s["domains"]["text"]["tasks"]["topic"].update(chance=value),
    "arms.pooling.set": lambda s, value: s["arms"]["pooling"]["set"].update(seconds=value),
    "arms.pooling.set_in.text": lambda s, value: s["arms"]["pooling"].update(set_in={"text": {"seconds": value}}),
    "tune.values": lambda s, value: tune(s, values=[0.1, value]),
    "tune.set": lambda s, value: tune(s, set={"seconds": value}),
    "tune.tie": lambda s, value: tune(s, tie=value),
    "tune.trials": lambda s, value: tune(s, trials=value),
    "tune.widen": lambda s, value: tune(s, widen=value),
    "claim.retains": lambda s, value: s.update(claim={"arm": "pooling", "retains": value}),
    "claim.gain": lambda s, value: s.update(control="identity", claim={"arm": "pooling", "gain": value}),
    "expected[0].size": lambda s, value: known(s, size=value),
    "scale[0].domains.text": lambda s, value: scale(s, domains={"vision": 0.5, "text": value}),
    "scale[0].margin": lambda s, value: scale(s, margin=value),
    "until.half_width": lambda s, value: s.update(until={"half_width": value, "most": 5}),
    "until.most": lambda s, value: s.update(until={"half_width": 0.02, "most": value}),
    "seeds": lambda s, value: s.update(seeds=[0, value]),
    "parallel": lambda s, value: s.update(parallel=-value),
}


@pytest.mark.parametrize("place", NUMBERS)
def test_numbers_are_finite(place: str, study_data: dict[str, Any]) -> None:
    for value in NOT_FINITE:
        data = copy.deepcopy(study_data)
        NUMBERS[place](data, value)
        with pytest.raises(ValueError, match=rf"(?s)file: .*{re.escape(place)}"):
            study_from_mapping(data, "file")


def test_numbers_of_other_libraries_become_plain(study_data: dict[str, Any]) -> None:
    study_data["domains"]["vision"] |= {"chance": np.float32(0.25), "margin": np.float64(0.5)}
    domain = study_from_mapping(study_data, "file").domain("vision")
    assert [(type(value), value) for value in (domain.chance, domain.margin)] == [(float, 0.25), (float, 0.5)]


def test_every_number_of_a_study_is_looked_at() -> None:
    """A new one that is not among `NUMBERS` is one that nobody looks at."""
    kinds = (Study, Domain, Arm, TaskScore, Tune, Claim, KnownAnswer, Scale, Until)
    fields = {field.name for kind in kinds for field in dataclasses.fields(kind) if re.search("float|int", field.type)}
    assert {name for name in fields if not any(name in place for place in NUMBERS)} == set()


@pytest.mark.parametrize(
    ("domains", "arms", "message"),
    [
        (["d"], ["a", "x" * 300], "must be a name of at most 80 letters.* and has 300"),
        (["d" * 81], ["a", "b"], "must be a name of at most 80 letters"),
        (["d"], ["a", "é"], "must be a name of at most 80 letters, digits"),
        (["d"], ["a", "Pool", "pool"], "d/Pool and d/pool would share their files"),
        (["d", "D"], ["a", "b"], "d/a and D/a would share their files"),
        (["d", "d--a"], ["a--b", "b"], "d/a--b and d--a/b would share their files"),
    ],
)
def test_names_that_cannot_be_files_are_refused(
    domains: list[str], arms: list[str], message: str, study_data: dict[str, Any]
) -> None:
    study_data["domains"] = dict.fromkeys(domains, study_data["domains"]["vision"])
    study_data["arms"] = {name: {"kind": "mixer", "set": {}} for name in arms}
    study_data["baseline"] = arms[0]
    with pytest.raises(ValueError, match=message):
        study_from_mapping(study_data, "file")


def test_seeds_are_added_for_nothing_where_no_mixer_is_looked_at(study_data: dict[str, Any]) -> None:
    study_data["seeds"] = [0, 1, 2]
    study_data["until"] = {"half_width": 0.1, "most": 5}
    study_data.pop("claim", None)
    for name, arm in study_data["arms"].items():
        if name != study_data["baseline"]:
            arm["seeds"] = [0, 1, 2]
    with pytest.raises(ValueError, match="beside the baseline there is none; name a claim"):
        study_from_mapping(study_data, "file")
