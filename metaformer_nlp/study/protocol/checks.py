"""What no section of a study file can know alone: names that point to one another, and what only goes together."""

from __future__ import annotations

import re
from typing import Any

from metaformer_nlp.config.names import flatten, nearest
from metaformer_nlp.study.protocol.study import AFTER, MIN_SEEDS, Arm, Domain, Study


def check_study(study: Study, where: str) -> None:
    """ValueError for the first thing that does not fit; `where` names the file."""
    domains = [domain.name for domain in study.domains]
    _check_folders(study, where)
    _check_comparisons(study, where)
    _check_known_answers(study, where)
    _check_scales(study, where)
    for arm in study.arms:
        _check_arm(study, arm, domains, where)
    for domain in study.domains:
        _check_domain(study, domain, where)
    if len(set(study.seeds)) < len(study.seeds):
        raise ValueError(f"{where}: seeds {list(study.seeds)} repeat a seed; a repeated run is no new evidence.")
    _check_until(study, where)
    if type(study.parallel) is not int or study.parallel < 1:
        raise ValueError(f"{where}: parallel must be a whole number from 1 on, not {study.parallel!r}.")


def _check_folders(study: Study, where: str) -> None:
    """No two runs share a file, on file systems that take no notice of capitals either."""
    seen: dict[str, str] = {}
    for domain in study.domains:
        for arm in study.arms_of(domain.name):
            name = f"{domain.name}/{arm.name}"
            other = seen.setdefault(name.replace("/", "--").lower(), name)  # as locks and logs are named
            if other != name:
                raise ValueError(f"{where}: {other} and {name} would share their files; rename a domain or an arm.")


def _check_comparisons(study: Study, where: str) -> None:
    """Baseline, references and claim name arms that are there to be compared."""
    names = [arm.name for arm in study.arms]
    mixers = [arm.name for arm in study.arms if arm.kind == "mixer"]
    if study.baseline not in mixers:
        raise ValueError(f"{where}: baseline {study.baseline!r} is no mixer arm; choose one of {', '.join(mixers)}.")
    for name in study.references:
        if name not in names:
            raise ValueError(f"{where}: references names arm {name!r}; {nearest(name, names)}")
    if len({study.baseline, *study.references}) < 1 + len(study.references):
        raise ValueError(
            f"{where}: references {list(study.references)} must be different arms beside the baseline {study.baseline}."
        )
    for what, named in (("control", study.control), ("claim.arm", study.claim.arm if study.claim else None)):
        if named is not None and named not in names:
            raise ValueError(f"{where}: {what}: there is no arm {named!r} under 'arms'; {nearest(named, names)}")
    if study.control is not None and (study.control not in mixers or study.control == study.baseline):
        raise ValueError(
            f"{where}: control {study.control!r} must be the mixer arm that mixes nothing and not the baseline, one of "
            f"{', '.join(name for name in mixers if name != study.baseline)}."
        )
    everywhere = [("baseline", study.baseline), *(("references", name) for name in study.references)]
    everywhere += [("control", study.control)] if study.control else []
    for what, name in everywhere:
        for domain in study.domains:
            if name not in [arm.name for arm in study.arms_of(domain.name)]:
                raise ValueError(
                    f"{where}: {what}: arm {name!r} does not run in domain {domain.name!r}, where all are compared "
                    f"with it; add the domain to arms.{name}.domains, or choose an arm that runs everywhere."
                )
    if study.claim and (study.claim.arm not in mixers or study.claim.arm == study.baseline):
        raise ValueError(
            f"{where}: claim.arm {study.claim.arm!r} must be a mixer other than the baseline, one of "
            f"{', '.join(name for name in mixers if name != study.baseline)}."
        )
    if study.claim and study.claim.retains is None and study.claim.gain is None:
        raise ValueError(
            f"{where}: claim says nothing of {study.claim.arm!r}; give it 'retains', a share of the baseline's score "
            "above chance, or name the study's 'control', and it is to keep half of what the baseline gains over that."
        )
    if study.claim and study.claim.arm == study.control:
        raise ValueError(
            f"{where}: claim.arm is the control, {study.control!r}, which gains nothing over itself; claim something "
            f"of {' or '.join(sorted({*mixers} - {study.baseline, study.control})) or 'a third mixer'}."
        )
    if study.claim and study.claim.gain is not None and study.control is None:
        raise ValueError(
            f"{where}: claim.gain is a share of what the baseline scores above the control, and there is none; name "
            "the arm that mixes nothing, such as 'control: identity'."
        )


def _check_known_answers(study: Study, where: str) -> None:
    """Both arms are there, and run in the domains in which the difference is expected."""
    names, domains = [arm.name for arm in study.arms], [domain.name for domain in study.domains]
    for number, answer in enumerate(study.expected):
        place = f"{where}: expected[{number}]"
        for what, name in (("arm", answer.arm), ("reference", answer.reference)):
            if name not in names:
                raise ValueError(f"{place}.{what} names arm {name!r}; {nearest(name, names)}")
        if answer.arm == answer.reference:
            raise ValueError(f"{place} compares {answer.arm!r} with itself; name another reference.")
        both = [name for name in domains if {answer.arm, answer.reference} <= {arm.name for arm in study.arms_of(name)}]
        for name in answer.domains:
            if name not in domains:
                raise ValueError(f"{place}.domains names domain {name!r}; {nearest(name, domains)}")
        if not both or not set(answer.domains) <= set(both):
            raise ValueError(
                f"{place}: {answer.arm!r} and {answer.reference!r} do not both run in "
                f"{', '.join(name for name in answer.domains if name not in both) or 'any domain'}; both run in "
                f"{', '.join(both) or 'none'}."
            )


def _check_scales(study: Study, where: str) -> None:
    """The domains of a scale are there, and their scores are of one kind."""
    domains = {domain.name: domain for domain in study.domains}
    for number, scale in enumerate(study.scale):
        place = f"{where}: scale[{number}].domains"
        for name in scale.domains:
            if name not in domains:
                raise ValueError(f"{place} names domain {name!r}; {nearest(name, domains)}")
        metrics = {name: domains[name].metric for name in scale.domains}
        if len(set(metrics.values())) > 1:
            each = ", ".join(f"{name}: {metric}" for name, metric in metrics.items())
            raise ValueError(f"{place} must have one metric, so that differences can be compared, not {each}.")


def _check_until(study: Study, where: str) -> None:
    """There are enough seeds for a first look, not too many, and what is looked at runs with all of them."""
    if study.until is None:
        return
    if not MIN_SEEDS <= len(study.seeds) <= study.until.most:
        raise ValueError(
            f"{where}: until adds seeds to at least {MIN_SEEDS}, up to {study.until.most}, and there are "
            f"{len(study.seeds)}; list {MIN_SEEDS} or more under 'seeds', or give until a larger 'most'."
        )
    for name in (study.baseline, study.claim.arm) if study.claim else (study.baseline,):
        if study.arm(name).seeds:
            raise ValueError(
                f"{where}: until looks at {name!r}, which must run with all seeds; take arms.{name}.seeds out."
            )
    if not study.looked_at():
        raise ValueError(
            f"{where}: until looks at the mixers that run with all seeds, and beside the baseline there is none; "
            "name a claim, or take the 'seeds' of a mixer out."
        )


def _check_arm(study: Study, arm: Arm, domains: list[str], where: str) -> None:
    names = [other.name for other in study.arms]
    for name in (*arm.domains, *arm.set_in):
        if name not in domains:
            raise ValueError(f"{where}: arms.{arm.name} names domain {name!r}; known: {', '.join(domains)}.")
    for name in arm.set_in:
        if arm.domains and name not in arm.domains:
            raise ValueError(
                f"{where}: arms.{arm.name}.set_in has settings for domain {name!r}, in which the arm does not run; add "
                f"it to arms.{arm.name}.domains, or take the settings out."
            )
    if unknown := [seed for seed in arm.seeds if seed not in study.seeds]:
        raise ValueError(
            f"{where}: arms.{arm.name}.seeds has {unknown[0]}, which is no seed of the study; choose among its seeds, "
            f"{list(study.seeds)}."
        )
    if arm.kind == "mixer" and arm.of is not None:
        raise ValueError(
            f"{where}: arms.{arm.name}.of is for architecture arms and variants; a mixer is compared with the baseline."
        )
    if arm.of is not None and arm.of not in names:
        raise ValueError(f"{where}: arms.{arm.name}.of names arm {arm.of!r}; {nearest(arm.of, names)}")
    if arm.kind != "mixer" and (arm.of not in names or arm.of == arm.name):
        raise ValueError(
            f"{where}: arms.{arm.name}.of must name the arm it was made from, one of "
            f"{', '.join(name for name in names if name != arm.name)}; it is {arm.of!r}."
        )
    if arm.of is not None:
        for name in arm.domains or domains:
            if arm.of not in [other.name for other in study.arms_of(name)]:
                raise ValueError(
                    f"{where}: arms.{arm.name} runs in domain {name!r} and {arm.of!r}, which it was made from, does "
                    "not: there is nothing to compare it with; let both run in the same domains."
                )


def _check_domain(study: Study, domain: Domain, where: str) -> None:
    place = f"{where}: domains.{domain.name}"
    domains = [other.name for other in study.domains]
    above = domains[: domains.index(domain.name)]
    if domain.after is not None and domain.after not in above:
        raise ValueError(
            f"{place}.after must name a domain above it, whose cells it starts from, not {domain.after!r}; above it: "
            f"{', '.join(above) or 'none'}."
        )
    arms = study.arms_of(domain.name)
    if domain.after is None:
        settings: list[tuple[str, Any]] = [("config", domain.config), ("set", domain.set)]
        settings += [("tune", {"values": domain.tune.values, **domain.tune.set})] if domain.tune else []
        settings += [(f"set_in of arms.{arm.name}", arm.set_in.get(domain.name, {})) for arm in arms]
        settings += [(f"set of arms.{arm.name}", arm.set) for arm in arms]
        for part, values in settings:
            for key, value in flatten(dict(values)).items():
                if AFTER in str(value):
                    raise ValueError(
                        f"{place}: {part} has {AFTER} in {key!r}, but the domain comes after none; name the domain it "
                        "starts from with 'after'."
                    )
    else:
        before = [arm.name for arm in study.arms_of(domain.after)]
        for arm in arms:
            if arm.name not in before:
                raise ValueError(
                    f"{place}: arm {arm.name!r} runs here and not in {domain.after!r}, whose cells it would start "
                    f"from; let it run in both (arms.{arm.name}.domains)."
                )
    if domain.tune and domain.tune.trials > len(study.seeds):
        raise ValueError(
            f"{place}.tune.trials asks for {domain.tune.trials} trials of each value, which run with the study's first "
            f"seeds, and there are {len(study.seeds)}: {list(study.seeds)}; ask for less, or give more seeds."
        )
    if domain.tune and domain.tune.beat_control:
        key = domain.tune.key
        if study.control is None or key not in domain.settings():
            raise ValueError(
                f"{place}.tune.beat_control keeps an arm's {key} as it is without tuning where no value beats the "
                "control's best: name the arm that mixes nothing, such as 'control: identity', and set "
                f"{key} in config or set."
            )
    if domain.axis is not None:
        numbered = [task.name for task in domain.tasks if re.search(r"\d$", task.name)]
        if len(numbered) < len(domain.tasks) or not numbered:
            others = [task.name for task in domain.tasks if task.name not in numbered]
            raise ValueError(
                f"{place}.axis: the tasks are points on it, so that their names must end in a number, such as order-8, "
                f"and not be {', '.join(others) or 'missing'}."
            )
