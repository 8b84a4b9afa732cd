"""The report's tables: rows of numbers as people read them, from the typed results. Sentences are in the templates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from markupsafe import Markup

from metaformer_nlp.study.analysis.answers import ADDS_NOTHING, NOT_RUN
from metaformer_nlp.study.analysis.results import Analysis, Arm, Difference, Domain, Known, Trends
from metaformer_nlp.study.analysis.statistics import Estimate
from metaformer_nlp.study.protocol import study as protocol
from metaformer_nlp.study.report.names import arm_titles, row_names
from metaformer_nlp.study.words import (
    capital,
    count,
    exact_percent,
    interval,
    listed,
    p_value,
    percent,
    points,
    ratio,
    setting,
    without_brackets,
)

_LOST = {"below": "costs", "above": "gains", "equal": "no difference", "open": "open"}
_KNOWN = {"yes": "reproduced", "no": "contradicted", "open": "open"}


@dataclass(frozen=True)
class Tables:
    """Every table of one report; `table` makes Markdown of a head and rows."""

    analysis: Analysis
    table: Callable[[Sequence[str], Sequence[Sequence[str]]], Markup]

    def first(self) -> Markup:
        """The first screen: a row for each question, a column for each of the first domains."""
        a, labels = self.analysis, self.analysis.labels()
        full, control = labels[a.study.baseline], a.study.control
        base = without_brackets(full)
        if base in labels.values():  # another arm is called so
            base = full
        domains = [a.domains[name] for name in a.first]
        rows: list[tuple[str, Callable[[Domain], str]]] = []
        if control:
            rows.append((f"{base} adds to {arm_titles(a.study)[control]}", self._mixing))
            if a.centre not in (a.study.baseline, control):
                claim = a.study.claim
                asked = f" (at least {exact_percent(claim.asked)}?)" if claim else ""
                rows.append((f"{labels[a.centre]} keeps of that gain{asked}", self._share))
        if a.study.expected:
            rows.append(("published differences", self._known))
        for of, name in dict.fromkeys((item.of, item.arm) for domain in domains for item in domain.removals):
            if of == a.centre or all(item.of != a.centre for domain in domains for item in domain.removals):
                part = "mixer" if name == control else labels[name].removeprefix("no ")
                rows.append((f"lost from {labels[of]} without its {part}", partial(self._removal, of=of, name=name)))
        if a.question("removals"):
            rows.append(("a part costs more than the mixer, each taken out", partial(self._by_pairs, name="removals")))
        if a.question("parts"):
            rows.append(("a part costs more than any change of the mixer", partial(self._by_pairs, name="parts")))
        for name in dict.fromkeys(
            swap.arm for domain in domains for swap in domain.swaps if not swap.mixer and swap.of == a.centre
        ):
            rows.append((f"lost from {labels[a.centre]} with {labels[name]}", partial(self._swap, name=name)))
        if a.question("swaps"):
            rows.append(
                ("another mixer changes more than another norm or activation", partial(self._by_pairs, name="swaps"))
            )
        rows.append((f"best mixer, over {base}", partial(self._best, than=a.study.baseline)))
        if a.centre not in (a.study.baseline, control):
            rows.append((f"best mixer, over {labels[a.centre]}", partial(self._best, than=a.centre)))
        for trends in a.trends:
            largest = a.domains[trends.largest].label
            rows.append(
                (f"gap to {base} with more {trends.scale.axis} ({largest})", partial(self._trend, trends=trends))
            )
        rows.append((f"smallest difference from {base} that 8 of 10 such studies find", lambda d: points(d.detectable)))
        rows.append((f"size of {full}, training", self._size))
        rows.append(("runs finished", self._runs))
        head = ["points [95 % interval]", *(capital(without_brackets(domain.label)) for domain in domains)]
        cells = [[name, *map(cell, domains)] for name, cell in rows]
        waiting = [row for row in cells if NOT_RUN in row and set(row[1:]) <= {NOT_RUN, "–"}]
        return self.table(head, [*(row for row in cells if row not in waiting), *_together(waiting)])

    def _mixing(self, domain: Domain) -> str:
        if domain.mixing is None:
            return "–"
        word, low, margin = domain.answers["mixing"].word, domain.mixing.low, domain.margin
        small = f"; whether by the margin of {points(margin)} is open" if margin and (low or 0.0) < margin else ""
        return f"{interval(domain.mixing, signed=True)}: {word}{small if word == 'yes' else ''}"

    def _share(self, domain: Domain) -> str:
        arm = domain.arms.get(self.analysis.centre)
        if arm is None or arm.share is None:
            return "–"
        claim, share = self.analysis.study.claim, arm.share
        if share.value is None or domain.answers["mixing"].word != "yes":
            return "open: no gain is shown"
        none = "none is shown: " if share.value <= 0 else ""
        kept = f"{none}{percent(share.value, share.interval)}"
        if not claim or claim.arm != arm.name:
            return kept
        return f"{kept}: {domain.answers['claim'].word}"

    def _known(self, domain: Domain) -> str:
        words = [_found(item) for item in domain.known]
        if not words or set(words) == {NOT_RUN}:
            return NOT_RUN if words else "–"
        text = listed([f"{words.count(word)} {word}" for word in (*_KNOWN.values(), NOT_RUN) if word in words])
        sizes = [item.size_inside for item in domain.known if item.size_inside is not None]
        return f"{text}; of {len(sizes)} published sizes {sum(sizes)} in the interval" if sizes else text

    def _removal(self, domain: Domain, of: str, name: str) -> str:
        for item in domain.removals:
            if (item.of, item.arm) == (of, name):
                arm = domain.arms[name]
                if not arm.began:
                    return NOT_RUN
                if not arm.seeds:
                    return f"no finished run ({arm.failures.failed} of {arm.planned} failed)"
                return f"{interval(item.cost, signed=True)}{' (not told from chance)' if item.to_chance else ''}"
        return "–"

    def _by_pairs(self, domain: Domain, name: str) -> str:
        if name in domain.answers and domain.answers[name].note == NOT_RUN:
            return NOT_RUN
        if name not in domain.pairs:
            return "–"
        answer = domain.answers[name]
        why = f" ({answer.note})" if answer.note.endswith(ADDS_NOTHING) else ""
        return f"{self.pairs(domain, name)}: {answer.word}{why}"

    def pairs(self, domain: Domain, name: str) -> str:
        """ "20 of 21 pairs (12 shown, the opposite in 1; 3 more have no finished run)"."""
        found = domain.pairs[name]
        known = sum(pair.cost is not None and pair.swap_cost is not None for pair in found.pairs)
        opposite = f", the opposite in {found.shown_less}" if found.shown_less else ""
        more = f"; {len(found.pairs) - known} more have no finished run" if known < len(found.pairs) else ""
        return f"{found.more} of {known} {'pair' if known == 1 else 'pairs'} ({found.shown_more} shown{opposite}{more})"

    def _swap(self, domain: Domain, name: str) -> str:
        for swap in domain.swaps:
            if swap.arm == name:
                return interval(swap.cost, signed=True) if domain.arms[name].began else NOT_RUN
        return "–"

    def _best(self, domain: Domain, than: str) -> str:
        best = domain.best_mixer
        if best is None or than not in domain.arms:
            return "–"
        if not domain.arms[than].seeds:
            return NOT_RUN
        if best.name == than or than not in best.against:
            return "none scores above it"
        difference, labels = best.against[than], self.analysis.labels().values()
        short = without_brackets(best.label)
        found = f"{best.label if short in labels else short} {interval(difference.estimate, signed=True)}"
        return found if difference.word == "above" else f"none is shown ({found})"

    def _trend(self, domain: Domain, trends: Trends) -> str:
        a, labels = self.analysis, self.analysis.labels()
        if not any(_one_model(a.study.domain(domain.name), a.study.domain(name)) for name in trends.scale.domains):
            return "–"
        lines = [name for name in dict.fromkeys((a.centre, a.study.control)) if name in trends.lines]
        words = {labels[name or ""]: trends.lines[name or ""].trend for name in lines}
        said = [f"{label}: {'no trend is shown' if word == 'open' else word}" for label, word in words.items()]
        shares = [
            f"{percent(arm.share.value)} ({domain.label})"
            for domain in map(a.domains.__getitem__, trends.scale.domains)
            if (mixing := domain.answers.get("mixing")) and mixing.word == "yes"
            if (arm := domain.arms.get(a.centre)) and arm.share and arm.share.value is not None
        ]
        if len(shares) > 1 and said:
            said.append(f"{labels[a.centre]} keeps {shares[0]} to {shares[-1]} of the gain")
        return "; ".join(said) or "–"

    def _size(self, domain: Domain) -> str:
        base, centre = domain.arms[self.analysis.study.baseline], domain.arms.get(self.analysis.centre)
        length = f"{count(base.tokens)} tokens" if base.tokens else f"{count(base.steps)} steps"
        text = f"{count(base.total)} parameters, {length}"
        if centre is None or centre is base or not (base.total and base.macs and centre.total and centre.macs):
            return text
        shares = f"{percent(centre.total / base.total)} of these, {percent(centre.macs / base.macs)} of the MACs"
        return f"{text}; {without_brackets(centre.label)} has {shares}"

    def _runs(self, domain: Domain) -> str:
        arms = domain.arms.values()
        planned, done = sum(arm.planned for arm in arms), sum(len(arm.seeds) for arm in arms)
        seeds = sorted({arm.planned for arm in arms})
        each = f"{seeds[0]} seed{'s' * (seeds[0] != 1)}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]} seeds"
        failed = sum(arm.failures.failed for arm in arms)
        return f"{done} of {planned}, {each} an arm; {failed} failed"

    def known(self) -> Markup:
        """Every published difference beside what is found of it."""
        labels, rows = self.analysis.labels(), []
        for domain in self.analysis.domains.values():
            for item in domain.known:
                expected = item.expected
                rows.append(
                    [
                        domain.label,
                        f"{labels[expected.arm]} {expected.sign} than {labels[expected.reference]}",
                        points(expected.size) if expected.size is not None else "–",
                        interval(item.found, signed=True),
                        _found(item),
                        {True: "yes", False: "no", None: "–"}[item.size_inside],
                        expected.source,
                    ]
                )
        head = ["domain", "published", "by", "found", "word", "size in the interval", "source"]
        return self.table(head, rows)

    def arms(self, domain: Domain) -> Markup:
        """Scores, shares, and the difference from each arm that all are compared with."""
        study, labels = self.analysis.study, self.analysis.labels()
        wanted = dict.fromkeys((study.baseline, *study.references, *([study.control] if study.control else [])))
        references = [name for name in wanted if name in domain.arms]
        head = ["arm", "seeds", "score", *(["gain kept"] if study.control else []), "above chance"]
        for reference in references:
            head += [f"minus {labels[reference]}", "shown", "p (Holm)"]
        rows, names = [], self._names(domain)
        for arm in domain.arms.values():
            if not arm.began:
                continue
            row = [names[arm.name], f"{len(arm.seeds)} of {arm.planned}", interval(arm.score)]
            if study.control:
                row.append(percent(arm.share.value, arm.share.interval) if arm.share else "–")
            kept = arm.retention
            row.append(percent(kept.value, None if kept.low is None or kept.high is None else (kept.low, kept.high)))
            for reference in references:
                pair = arm.against.get(reference)
                shown = [interval(pair.estimate, signed=True), _shown(pair), p_value(pair.p_holm)] if pair else []
                row += shown or ["–", "–", "–"]
            rows.append(row)
        return self.table(head, rows)

    def _names(self, domain: Domain) -> dict[str, str]:
        """What the arms of a domain are called where they stand below each other."""
        return {name: its for name, its in row_names(self.analysis.study).items() if name in domain.arms}

    def waiting(self, domain: Domain) -> dict[str, str]:
        """Names of the arms of which no run has ended; no table has them."""
        names = self._names(domain)
        return {arm.name: names[arm.name] for arm in domain.arms.values() if not arm.began}

    def notes(self, domain: Domain) -> list[str]:
        """The notes of the estimates, each once."""
        found = dict[str, None]()
        for arm in domain.arms.values():
            if arm.name != self.analysis.study.baseline and arm.began:
                estimates = [arm.score, arm.retention, *(pair.estimate for pair in arm.against.values())]
                found |= {estimate.note: None for estimate in estimates if estimate.note}
                found |= {arm.share.answer.note: None} if arm.share and arm.share.answer.note else {}
        return list(found)

    def costs(self, domain: Domain) -> Markup:
        """What an arm takes."""
        head = ["arm", "parameters", "trainable", "MACs", "steps", "tokens", "seconds"]
        names, arms = self._names(domain), [arm for arm in domain.arms.values() if arm.began]
        rows = [[names[arm.name], *map(count, _sizes(arm)), _seconds(arm)] for arm in arms]
        return self.table(head, rows)

    def tasks(self, domain: Domain) -> Markup:
        """The score of each arm in each task, chance in the last row; with several tasks that are no distances also the
        mean difference from the baseline, whose interval is one over tasks and seeds."""
        tasks, head = list(domain.task_chance), ["arm", *domain.task_chance]
        names, arms = self._names(domain), [arm for arm in domain.arms.values() if arm.began]
        rows = [[names[arm.name], *(interval(arm.tasks[task]) for task in tasks)] for arm in arms]
        rows.append(["chance", *(points(domain.task_chance[task]) for task in tasks)])
        over = [arm.over_tasks for arm in arms]
        if any(over):
            head.append(f"mean, minus {self._names(domain)[self.analysis.study.baseline]} (over tasks and seeds)")
            for row, estimate in zip(rows, [*over, None], strict=True):
                row.append(interval(estimate, signed=True) if estimate else "–")
        return self.table(head, rows)

    def changes(self, domain: Domain) -> Markup:
        """What each removal and each swap costs, the largest first."""
        labels, rows = self.analysis.labels(), []
        for item in sorted(domain.removals, key=lambda item: -(item.cost.value or 0)):
            cost = f"{interval(item.cost, signed=True)}{' (not told from chance)' if item.to_chance else ''}"
            rows.append([f"out of {labels[item.of]}", labels[item.arm], cost, _LOST[item.word]])
        for swap in sorted(domain.swaps, key=lambda item: -abs(item.cost.value or 0)):
            pair = domain.arms[swap.arm].against.get(swap.of)
            kind = "in place of" if swap.mixer else "swapped in"
            cost = interval(swap.cost, signed=True)
            rows.append([f"{kind} {labels[swap.of]}", labels[swap.arm], cost, _LOST[pair.word] if pair else "–"])
        return self.table(["change", "arm", "points lost", "shown"], rows)

    def trends(self, trends: Trends) -> Markup:
        """The slope and the last doubling of each gap, and by how much a line through the others misses the last."""
        labels = self.analysis.labels()
        head = ["arm", "budgets", "gap, mean", "a doubling", "p (Holm)", "last doubling", "curvature"]
        head += ["last, minus the line of the others", "word"]
        rows = []
        for name, line in trends.lines.items():
            contrasts = line.mean, line.slope, line.last, line.curvature
            mean, slope, last, curvature = (ratio(contrast.estimate(), signed=True) for contrast in contrasts)
            beyond = trends.beyond.get(name)
            missed = ratio(Estimate(beyond.missed_last if beyond else None, 0), signed=True)
            row = [labels[name], str(len(line.budgets)), mean, slope, p_value(line.p_holm), last, curvature]
            rows.append([*row, missed, f"{line.trend} ({line.note})" if line.note else line.trend])
        return self.table(head, rows)

    def by_budget(self, trends: Trends) -> Markup | str:
        """What the baseline adds to the control at each budget, and the share of it that each mixer keeps."""
        labels, study = self.analysis.labels(), self.analysis.study
        domains = [self.analysis.domains[name] for name in trends.scale.domains]
        gains = {domain.name: domain.mixing for domain in domains if domain.mixing and domain.mixing.value is not None}
        shares = {
            domain.name: {
                arm.name: arm.share for arm in domain.arms.values() if arm.share and arm.share.value is not None
            }
            for domain in domains
        }
        arms = [name for name in labels if name != study.baseline and any(name in its for its in shares.values())]
        if not study.control or not gains or not arms:
            return ""
        rows = []
        for name, gain in gains.items():
            its = [shares[name].get(arm) for arm in arms]
            kept = [percent(share.value, share.interval) if share else "–" for share in its]
            rows.append([self.analysis.domains[name].label, interval(gain, signed=True), *kept])
        adds = f"{labels[study.baseline]} adds to {labels[study.control]}"
        return self.table(["budget", adds, *(f"{labels[name]} keeps" for name in arms)], rows)

    def take_offs(self) -> Markup | str:
        """When the runs of each arm leave all that the control scored."""
        rows = []
        for domain in self.analysis.domains.values():
            for arm in domain.arms.values():
                if its := arm.take_off:
                    at = "not by then" if its.tokens is None else count(its.tokens)
                    rows.append([domain.label, arm.label, at, f"{its.left} of {its.runs}", count(its.seen)])
        head = ["domain", "arm", "tokens or steps until it is above no mixing", "runs that left", "watched until"]
        return self.table(head, rows) if rows else ""

    def ranks(self) -> Markup:
        """Kendall's tau of each pair of domains."""
        rows = []
        for rank in self.analysis.ranks:
            pair = listed([self.analysis.domains[name].label for name in rank.domains])
            orders = " / ".join(str(rank.pairs[key]) for key in ("same", "opposite", "unknown")) if rank.pairs else "–"
            rows.append([pair, str(rank.tau.n), ratio(rank.tau), p_value(rank.p), orders])
        return self.table(["domains", "mixers", "τ", "p", "pairs: same / opposite / open"], rows)

    def settings(self) -> Markup:
        """Effects over settings, with what to expect in another one."""
        labels, rows = self.analysis.labels(), []
        for item in self.analysis.settings:
            over = item.over
            mean, other = (_between(over.value, ends) for ends in (over.interval, over.prediction))
            names = f"{labels[item.arm]} minus {labels[item.reference]}"
            rows.append([names, str(over.settings), mean, other, points(over.between)])
        head = ["difference", "settings", "mean over settings", "in another setting", "sd between settings"]
        return self.table(head, rows)

    def settings_of_arms(self) -> Markup:
        """What each arm sets."""
        study = self.analysis.study
        rows = [
            [arm.name, arm.kind, arm.of or study.baseline, setting({**arm.set, **_in_domains(arm.set_in)})]
            for arm in study.arms
        ]
        return self.table(["arm", "kind", "compared with", "sets"], rows)


def _one_model(domain: protocol.Domain, other: protocol.Domain) -> bool:
    """Whether two domains are one experiment with one model, so that one says something of the other."""
    models = [
        {key: value for key, value in its.settings().items() if key.startswith("model.")} for its in (domain, other)
    ]
    return domain.experiment == other.experiment and models[0] == models[1]


def _in_domains(set_in: object) -> dict[str, object]:
    return {"in": set_in} if set_in else {}


def _found(item: Known) -> str:
    return NOT_RUN if item.answer.note == NOT_RUN else _KNOWN[item.answer.word]


def _shown(pair: Difference) -> str:
    word, within = pair.word, pair.within_margin
    return f"{word}, within the margin" if within and word in ("above", "below") else word


def _sizes(arm: Arm) -> list[float | None]:
    return [arm.total, arm.trainable, arm.macs, arm.steps, arm.tokens]


def _seconds(arm: Arm) -> str:
    return "–" if arm.train_seconds is None else f"{arm.train_seconds:,.0f}"


def _between(value: float | None, ends: tuple[float, float] | None) -> str:
    return interval(Estimate(value, 0, None, *(ends or (None, None))), signed=True)


def _together(waiting: Sequence[Sequence[str]]) -> list[list[str]]:
    """Rows that have nothing to tell yet as one row, in which each is named."""
    named: dict[str, list[str]] = {}
    for row in waiting:
        start, middle, part = row[0].partition(" without its ")
        named.setdefault(start + middle, []).append(part)
    names = "; ".join(start + ", ".join(parts) for start, parts in named.items())
    told = [NOT_RUN if NOT_RUN in column else "–" for column in list(zip(*waiting, strict=True))[1:]]
    return [[names, *told]] if waiting else []
