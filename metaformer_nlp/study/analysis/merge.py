"""Several studies laid beside each other as one, so that images and text, or several settings, share a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from metaformer_nlp.study.analysis.rows import Row
from metaformer_nlp.study.protocol.study import Arm, Domain, KnownAnswer, Study
from metaformer_nlp.study.words import listed, without_brackets

Part = tuple[Study, Sequence[Row]]


def merge_studies(parts: Sequence[Part]) -> Part:
    """One study with the domains of all, and the rows of all.

    A domain whose name several studies use gets its study's name in front. Arms of one name are one arm, which runs in
    the domains of all studies that have it; where its settings differ they become settings of the domains. A claim is
    kept if all studies test it, a control if all have it, and a reference if it runs in all domains. ValueError if the
    studies cannot be laid side by side: other baselines, one study twice, an arm of another kind.
    """
    if len(parts) == 1:
        return parts[0]
    names = [study.name for study, _ in parts]
    if len(set(names)) < len(names):
        raise ValueError(
            f"Each study can be given once, but there are {', '.join(names)}; leave out one, or rename it."
        )
    baselines = {study.name: study.baseline for study, _ in parts}
    if len(set(baselines.values())) > 1:
        raise ValueError(
            f"The studies compare with different baselines ({', '.join(f'{k}: {v}' for k, v in baselines.items())}); "
            "name the same one in each study file, start the study again (what is finished stays) and report it again."
        )
    studies, rows = zip(*(_rename_domains(part, parts) for part in parts), strict=True)
    domains = [domain for study in studies for domain in study.domains]
    arms = _arms(studies)
    controls = {study.control for study in studies}
    claims = {study.claim for study in studies}  # no claim is a decision, too: another study's is not tested by it
    limits = dict.fromkeys(limit for study in studies for limit in study.limits)
    if len(controls) > 1:
        limits["Not all of these studies have the same control, so that none is used here."] = None
        # A gain above another control is another claim.
        claims |= {None} if any(claim and claim.gain is not None for claim in claims) else set()
        domains = [
            replace(domain, tune=replace(domain.tune, beat_control=False)) if domain.tune else domain
            for domain in domains
        ]
    if len(claims) > 1:
        limits["Not all of these studies were made to test the same claim, so that none is judged here."] = None
    if adding := [study.name for study in studies if study.until]:
        limits[
            f"In {listed(adding)} seeds were added until the intervals were narrow, which favours seeds that lie close."
        ] = None
    references, partial = list[str](), list[str]()
    for name in dict.fromkeys(name for study in studies for name in study.references):
        everywhere = all(not arm.domains or len(arm.domains) == len(domains) for arm in arms if arm.name == name)
        (references if everywhere else partial).append(name)
    if partial:
        limits[
            f"Arms are not compared with {listed(partial)} here, as not all domains have runs of it; the reports of "
            "the single studies have these comparisons."
        ] = None
    merged = Study(
        name="-".join(names),
        question=_question(studies),
        baseline=studies[0].baseline,
        domains=tuple(domains),
        arms=arms,
        seeds=tuple(dict.fromkeys(seed for study in studies for seed in study.seeds)),
        references=tuple(references),
        claim=studies[0].claim if len(claims) == 1 else None,
        control=studies[0].control if len(controls) == 1 else None,
        expected=_known_answers(studies),
        scale=tuple(scale for study in studies for scale in study.scale),
        parallel=max(study.parallel for study in studies),
        limits=tuple(limits),
    )
    return merged, [row for its in rows for row in its]


def _question(studies: Sequence[Study]) -> str:
    """The studies' questions; those of studies that are nothing but a scale have a row of their own instead."""
    scaled = {name for study in studies for scale in study.scale for name in scale.domains}
    own = [study for study in studies if any(domain.name not in scaled for domain in study.domains)]
    return " ".join(dict.fromkeys(study.question for study in own or studies))


def _rename_domains(part: Part, parts: Sequence[Part]) -> Part:
    """`part` with its study's name before every domain's name and title that another study uses, too."""
    study, rows = part
    others = [domain for other, _ in parts if other is not study for domain in other.domains]
    taken, titles = {domain.name for domain in others}, {domain.title for domain in others}
    names = {d.name: f"{study.name}-{d.name}" if d.name in taken else d.name for d in study.domains}

    def renamed(domain: Domain) -> Domain:
        label = f"{domain.title} ({study.name})" if domain.title in titles else domain.label
        after = names[domain.after] if domain.after else None
        return replace(domain, name=names[domain.name], label=label or domain.title, after=after)

    arms = tuple(
        replace(
            arm,
            domains=tuple(names[name] for name in arm.domains),
            set_in={names[name]: values for name, values in arm.set_in.items()},
        )
        for arm in study.arms
    )
    expected = tuple(
        replace(answer, domains=tuple(names[name] for name in answer.domains)) for answer in study.expected
    )
    scale = tuple(
        replace(scale, domains={names[name]: value for name, value in scale.domains.items()}) for scale in study.scale
    )
    moved = [{**row, "domain": names[row["domain"]]} for row in rows]
    domains = tuple(map(renamed, study.domains))
    return replace(study, domains=domains, arms=arms, expected=expected, scale=scale), moved


def _known_answers(studies: Sequence[Study]) -> tuple[KnownAnswer, ...]:
    """The known answers of all studies, each once, in the domains of the studies that expect it."""
    found: dict[KnownAnswer, list[str]] = {}
    for study in studies:
        for answer in study.expected:
            its = found.setdefault(replace(answer, domains=()), [])
            its += answer.domains or [
                domain.name
                for domain in study.domains
                if {answer.arm, answer.reference} <= {arm.name for arm in study.arms_of(domain.name)}
            ]
    return tuple(replace(answer, domains=tuple(its)) for answer, its in found.items())


def _arms(studies: Sequence[Study]) -> tuple[Arm, ...]:
    """The arms of all studies, each in the domains it runs in."""
    found: dict[str, list[tuple[Study, Arm]]] = {}
    for study in studies:
        for arm in study.arms:
            found.setdefault(arm.name, []).append((study, arm))
    return tuple(_united(name, its) for name, its in found.items())


def _united(name: str, its: Sequence[tuple[Study, Arm]]) -> Arm:
    first = its[0][1]
    for study, arm in its:
        if (arm.kind, arm.of) != (first.kind, first.of):
            raise ValueError(
                f"arm {name!r} is {arm.kind} of {arm.of} in study {study.name} and {first.kind} of {first.of} in "
                f"{its[0][0].name}; give one of the two another name in its study file and report it again."
            )
    places = [(arm, domain) for study, arm in its for domain in study.domains if arm.runs_in(domain.name)]
    same = all(arm.set == first.set for _, arm in its)
    # What an arm sets does not apply to a domain that starts from another one's cells.
    general = {domain.name: {} if same or domain.after else arm.set for arm, domain in places}
    set_in = {
        domain.name: values
        for arm, domain in places
        if (values := {**general[domain.name], **arm.set_in.get(domain.name, {})})
    }
    return replace(
        first,
        set=first.set if same else {},
        set_in=set_in,
        domains=tuple(domain.name for _, domain in places),
        label=_label([arm for _, arm in its]),
    )


def _label(arms: Sequence[Arm]) -> str:
    """The common label of arms of one name: without brackets where they say different things, as of attention with
    different positions.
    """
    titles = dict.fromkeys(arm.title for arm in arms)
    short = dict.fromkeys(map(without_brackets, titles))
    return arms[0].label if len(titles) == 1 else " / ".join(short)
