"""What the report says and in which order: the answer first, then what it rests on, last how it was made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metaformer_nlp.study.analysis.selection import arm_of, telling_domains
from metaformer_nlp.study.report.document import Document
from metaformer_nlp.study.report.reproduction import add_missing, add_protocol, key_of, questions
from metaformer_nlp.study.report.sentences import RULES, sentences_of
from metaformer_nlp.study.report.verdict import SEVERAL_DOMAINS, verdict
from metaformer_nlp.study.words import capital, count, interval, listed, p_value, percent, points, ratio, share_of

_MANY_PAIRS = 6  # of domains; a longer table would bury what comes after it
Pictures = Mapping[str, Path]
_TONES = {
    "below": "minus",
    "above": "plus",
    "less": "minus",
    "more": "plus",
    "equivalent": "same",
    "cannot tell": "open",
}


def build_document(analysis: Mapping[str, Any], pictures: Pictures) -> Document:
    """The report's content; `pictures` are the PNG files by name."""
    study, found = analysis["study"], sentences_of(analysis)
    names = [name for name, *_ in questions(analysis)]
    document = Document(f"{'Study' if len(names) == 1 else 'Studies'} {listed([f'“{name}”' for name in names])}")
    if len(names) == 1:
        document.paragraph(study["question"], lead=True)
    for name, question, its in questions(analysis) if len(names) > 1 else ():
        document.paragraph(f"“{name}” ({'; '.join(its)}): {question}")
    document.heading("Verdict")
    for answer in verdict(analysis):
        document.answer(
            answer["statement"], answer["verdict"], answer["sentence"], answer["rule"], answer.get("details", ())
        )
    if len(analysis["domains"]) > 1:
        document.paragraph(SEVERAL_DOMAINS)
    document.heading("What was found")
    for name, items in found["domains"].items():
        document.heading(capital(analysis["domains"][name]["label"]), 3)
        document.bullets(items)
    document.heading("How these words are chosen", 3)
    document.bullets(RULES)
    document.heading("What this study cannot show")
    document.bullets(found["limits"])
    if len(analysis["domains"]) > 1:
        _across(document, analysis, pictures)
    _effects(document, analysis, pictures)
    for domain in analysis["domains"].values():
        _domain(document, domain, pictures, analysis)
    add_missing(document, analysis)
    add_protocol(document, analysis)
    return document


def _across(document: Document, analysis: Mapping[str, Any], pictures: Pictures) -> None:
    domains, across = analysis["domains"], analysis["across"]
    document.heading("Which findings hold where")
    study, single = analysis["study"], dict[str, None]()
    for reference in dict.fromkeys((study["baseline"], *study["references"], None)):
        its = [item for item in across["findings"] if item["reference"] == reference]
        single |= {item["label"]: None for item in its if len(item["domains"]) == 1 and item["kind"] == "arm"}
        rows = [
            [
                item["label"] if item["kind"] == "arm" else "parts beside mixers",
                _shown_in(item),
                *(_standing(item, name) for name in domains),
            ]
            for item in its
            if len(item["domains"]) > 1
        ]
        first = "what costs more" if reference is None else f"beside {_label(analysis, reference)}"
        if rows:
            table = [[first, "shown in", *(domain["label"] for domain in domains.values())], *rows]
            if len(domains) > len(rows):  # the longer side down: a page is narrower than it is high
                table = [list(column) for column in zip(*table, strict=True)]
            document.table(table[0], table[1:], tones=_TONES)
    if single:
        document.paragraph(f"Left out, as only one domain has their runs: {listed(list(single))}.")
    document.paragraph(
        "Points above or below the arm that is named in the first head; for the architecture's parts, points "
        "that they cost more or less than swapping the mixer does. A word is only said where it is shown; “shown in” "
        "counts the domains that show the same, of those that can say something. “–”: not part of the domain; “no "
        "say”: no arm is above chance there or, of what parts cost, the baseline is not."
    )
    if telling := [rank for rank in across["ranks"] if all(domains[name]["telling"] for name in rank["domains"])]:
        document.heading("Do the domains rank the mixers alike?", 3)
        ranks = [
            [
                listed([domains[name]["label"] for name in rank["domains"]]),
                str(rank["n"]),
                ratio(rank),
                p_value(rank["p"]),
                " / ".join(str(rank["pairs"][order]) for order in ("same", "opposite", "unknown"))
                if rank["pairs"]
                else "–",
            ]
            for rank in telling
        ]
        header = ("domains", "mixers", "Kendall's τ", "p", "pairs: same / opposite / open")
        document.table(header, ranks, fold=f"All {len(ranks)} pairs of domains" if len(ranks) > _MANY_PAIRS else "")
        document.paragraph(
            "1: the same order of the mixers' mean scores, −1: the opposite order, 0: no agreement; in brackets the "
            "95 % interval over seeds; p: how often so much agreement or more would come about by chance. Pairs of "
            "mixers whose order is known in both domains have the same or the opposite order; all others are open."
        )
    _picture(
        document,
        pictures,
        "retained",
        "Percent of the baseline's score above chance that each arm keeps in each domain; the brighter, the more.",
    )
    pairs = [name for name in pictures if name.startswith("retention-")]
    for name in pairs:
        _picture(document, pictures, name, "")
    if pairs:
        document.paragraph(
            "What each arm retains of the baseline's score above chance, one domain against the other. Bars are 95 % "
            "intervals, cut off at the border. On the grey diagonal, an arm retains as much in both; the dashed lines "
            "are the baseline."
        )


def _shown_in(item: Mapping[str, Any]) -> str:
    """In how many of the domains that count a finding is shown: "2 of 3"; in either direction: "1 against 1"."""
    if item["against"]:
        return f"{len(item['in'])} against {len(item['against'])}"
    counted = sum(its["counts"] for its in item["domains"].values())
    return f"{len(item['in'])} of {counted}" if counted else "–"


def _standing(item: Mapping[str, Any], name: str) -> str:
    """What a finding says in one domain: "below −3.1", "cannot tell +0.4"."""
    its = item["domains"].get(name)
    if its is None or its["value"] is None:
        return "–"
    if not its["counts"]:
        return "no say"
    up, down = ("above", "below") if item["kind"] == "arm" else ("more", "less")
    word = its["label"]
    if word.startswith("different"):
        word = up if its["sign"] > 0 else down
    return f"{word} {points(its['value'], signed=True)}"


def _effects(document: Document, analysis: Mapping[str, Any], pictures: Pictures) -> None:
    parts = any(arm["kind"] == "architecture" for arm in analysis["study"]["arms"].values())
    document.heading("The architecture's parts beside the mixers" if parts else "What swapping the mixer costs")
    if silent := [domain["label"] for domain in analysis["domains"].values() if not domain["telling"]]:
        document.paragraph(f"Nothing is shown of {listed(silent)}, where no arm is clearly above chance.")
    domains = telling_domains(analysis)
    for domain in domains:
        _picture(document, pictures, f"effects-{domain['name']}", "")
    if domains:
        document.paragraph(
            "Points that each change costs. A mixer is compared with the baseline mixer, a part of the architecture "
            "with the arm it was taken out of, seed by seed (dots). Bars are 95 % intervals; at an arrow head, one "
            "goes on."
        )
    rows = list[tuple[str, ...]]()
    notes = dict[str, None]()
    for domain in domains:
        variance = domain["variance"]
        if not variance:
            continue
        rows.append((domain["label"], *_shares(variance)))
        if without := variance["without"]:
            rows.append((f"{domain['label']}, without “{arm_of(domain, without['arm'])['label']}”", *_shares(without)))
        notes |= {variance["method"]: None, variance["note"]: None}
    if rows:
        document.table(("share of the variance, %", "mixer", "architecture's parts", "seed"), rows)
        document.paragraph(
            "How much scores vary when only the mixer, only one part of the architecture or only the seed is another "
            "one, as shares of the three together. Where one of the three is clearly the largest, but another one "
            f"without a single arm, this is shown, too. {' '.join(f'{capital(note)}.' for note in notes if note)}"
        )


def _shares(variance: Mapping[str, Any]) -> list[str]:
    parts = (variance[kind] for kind in ("mixer", "architecture", "seed"))
    return ["–" if part is None else percent(share_of(part)) for part in parts]


def _domain(document: Document, domain: Mapping[str, Any], pictures: Pictures, analysis: Mapping[str, Any]) -> None:
    title, name, study = capital(domain["label"]), domain["name"], analysis["study"]
    document.heading(title)
    _picture(document, pictures, f"scores-{name}", "Mean score with its 95 % interval; each dot is a seed.")
    baseline = study["baseline"]
    references = [key for key in dict.fromkeys((baseline, *study["references"])) if _is_in(domain, key)]
    header = ["arm", "seeds", "score", "retention, %"]
    for reference in references:
        header += [f"minus {arm_of(domain, reference)['label']}", "shown", "p (Holm)"]
    rows = []
    for arm in domain["arms"]:
        row = [
            arm["label"],
            f"{arm['score']['n']} of {arm['planned']}",
            interval(arm["score"]),
            percent(arm["retention"]),
        ]
        for reference in references:
            pair = arm["against"].get(reference)
            row += ["–", "–", "–"] if pair is None else [interval(pair, True), _shown(pair), p_value(pair["p_holm"])]
        rows.append(row)
    document.table(header, rows, tones=_TONES)
    document.paragraph(_notation(domain, baseline))
    _picture(document, pictures, f"cost-{name}", "Mean score with its 95 % interval over what an arm takes.")
    rows = [
        [arm["label"], *(count(arm[key]) for key in ("total", "trainable", "macs", "steps", "tokens")), _seconds(arm)]
        for arm in domain["arms"]
    ]
    document.table(("arm", "parameters", "trainable", "MACs", "steps", "tokens", "train s"), rows)
    again = [key_of(row).partition("/")[2] for row in analysis["cells"] if row["domain"] == name and row["restarted"]]
    document.paragraph(
        "MACs: multiply-accumulate operations of one forward pass. Seconds: median of the training runs' wall-clock "
        "times; machines are shared, and time that a run was kept waiting counts, so that they are a rough "
        f"measure.{f' Started more than once, with the seconds of all starts: {listed(again)}.' if again else ''}"
    )
    _picture(
        document,
        pictures,
        f"curves-{name}",
        "Score in the course of training: the mean over seeds in its 95 % interval. The baseline is the dashed black "
        "line, the other arms are grey, chance is dotted.",
    )
    for picture in pictures:
        if picture.startswith(f"distance-{name}"):
            _picture(
                document,
                pictures,
                picture,
                f"Score over {domain['axis'] or 'distance'}: the mean over seeds in its 95 % interval. The baseline is "
                "the dashed black line, the other arms are grey, chance is dotted.",
            )
    if domain["task_chance"]:
        document.heading(f"{title}: task by task", 3)
        _picture(document, pictures, f"tasks-{name}", "Mean score of each arm in each task, in points of 100.")
        tasks = list(domain["task_chance"])
        table = [[arm["label"], *(interval(arm["tasks"][task]) for task in tasks)] for arm in domain["arms"]]
        table.append(["chance", *(points(domain["task_chance"][task]) for task in tasks)])
        document.table(["arm", *tasks], table)


def _notation(domain: Mapping[str, Any], baseline: str) -> str:
    """What the columns mean, and the notes of the estimates, each once."""
    margin = "" if domain["margin"] is None else f" Equivalent: within {points(domain['margin'])} points."
    notes = {
        estimate["note"]: None
        for arm in domain["arms"]
        for estimate in (arm["score"], arm["retention"], *arm["against"].values())
        if estimate["note"] and arm["arm"] != baseline
    }
    return " ".join(
        [
            f"In brackets: 95 % intervals over seeds. Score: {domain['metric']}, in points of 100. Retention: score "
            "above chance as a share of the baseline's. Minus: difference, seed by seed; “shown” is what is left of it "
            f"after correction for the number of comparisons.{margin}",
            *(f"Note: {note}." for note in notes),
        ]
    )


def _shown(pair: Mapping[str, Any]) -> str:
    if pair["label"] == "different":
        return "above" if pair["sign"] > 0 else "below"
    if pair["label"] == "different within the margin":
        return f"{'above' if pair['sign'] > 0 else 'below'}, within the margin"
    return str(pair["label"])


def _is_in(domain: Mapping[str, Any], name: str) -> bool:
    return any(arm["arm"] == name for arm in domain["arms"])


def _label(analysis: Mapping[str, Any], name: str) -> str:
    arms = [arm for domain in analysis["domains"].values() for arm in domain["arms"] if arm["arm"] == name]
    return str(arms[0]["label"])


def _seconds(arm: Mapping[str, Any]) -> str:
    return "–" if arm["train_seconds"] is None else f"{arm['train_seconds']:,.1f}"


def _picture(document: Document, pictures: Pictures, name: str, caption: str) -> None:
    if name in pictures:
        document.picture(pictures[name], f"plots/{pictures[name].name}", name.replace("-", ", "), caption)
