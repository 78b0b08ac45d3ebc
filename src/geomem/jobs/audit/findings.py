"""What was found of a model, in short sentences by key."""

from typing import Any

from geomem.findings.copies import copies_findings
from geomem.findings.finding import Finding, Findings, Number
from geomem.jobs.audit.numbers import Numbers
from geomem.jobs.audit.words import percent
from geomem.jobs.progress import duration

__all__ = ["CLOSER", "PROBED", "SCREENING", "SETTING", "findings_of", "short_of"]

# Sections of the page.
SCREENING, CLOSER, PROBED, SETTING = "screening", "closer", "probed", "setting"
# Keys of those on the first screen, the most important first; the first five that there are.
_SHORT = ("fit.poor", "lost", "kinds", "membership", "copies.rate", "calibration", "resolved", "rate", "training")


def findings_of(numbers: Numbers) -> Findings:
    """All findings."""
    out = Findings()

    def add(key: str, section: str, text: str, value: Number = None) -> None:
        out.add(Finding(key, section, text, value))

    _screening(numbers, add)
    _denoising(numbers, add)
    _closer(numbers, add)
    if numbers["probed"] is not None:
        _probed(numbers, add)
    if numbers["copies"] is not None:
        for finding in copies_findings(numbers["copies"], numbers["unit"]):
            out.add(finding)
    _setting(numbers, add)
    return out


def short_of(findings: Findings) -> list[str]:
    """At most five of them."""
    return [findings[key].text for key in _SHORT if key in findings][:5]


def _screening(numbers: Numbers, add: Any) -> None:
    unit, found, loss, ideal = numbers["unit"], numbers["screening"], numbers["lost"], numbers["empirical"]
    t = f"noise variance {numbers['reference_t']:.3g}"
    add(
        "screened",
        SCREENING,
        f"{_of(found['training'], found['all']['training'])} training and {_of(found['held_out'], found['all']['held_out'])} held-out "
        f"{unit}s were screened, each at {_many(len(found['levels']), 'noise level')}.",
        float(found["training"]),
    )
    here = next(row for row in numbers["levels"] if row["t"] == numbers["reference_t"])
    own, other = here["training"], here["compared"]
    if loss is not None:
        own, other = loss["training"], loss["compared"]
        add(
            "lost",
            SCREENING,
            f"It has lost {percent(loss['fraction'])} of its degrees of freedom at training {unit}s, at {t}.",
            loss["fraction"],
        )
    if own is not None:
        add("training", SCREENING, f"At {t} it has {own:.1f} degrees of freedom at training {unit}s.", own)
    if other is not None:
        add("compared", SCREENING, f"At held-out {unit}s it has {other:.1f} there.", other)
    if ideal is not None:
        add(
            "empirical",
            SCREENING,
            f"Perfect memorization (the empirical score) would lose {percent(ideal['lost'])} there.",
            ideal["lost"],
        )
    best = numbers["membership"]
    if best is not None:
        add(
            "membership",
            SCREENING,
            f"Its denoising error tells a training {unit} from a held-out one in {percent(best['auc'])} of pairs; 50% is chance.",
            best["auc"],
        )
        add(
            "rate",
            SCREENING,
            f"{best['rate']} of training {unit}s have a smaller error than {100 - 100 * best['false_positives']:.3g}% of held-out ones.",
            best["rate"],
        )
    if numbers["calibration"] is not None:
        ratio = numbers["calibration"]["held_out"]
        add(
            "calibration",
            SCREENING,
            f"Its calibration ratio, error over trace at held-out {unit}s, is {ratio:.2f}; a model that generalizes has 1.",
            ratio,
        )
    agreement = numbers["agreement"]
    if agreement is not None and agreement["of"] > 1:
        add(
            "agreement",
            SCREENING,
            f"Of {agreement['of']} noise levels at which memorization would show, {agreement['count']} give the same verdict.",
            float(agreement["count"]),
        )
    if found["near_copies"]:
        add(
            "near_copies",
            SCREENING,
            f"{_many(found['near_copies'], f'held-out {unit}')} left out: near a training {unit}, as a near duplicate is.",
            float(found["near_copies"]),
        )
    if numbers["verdict"]["reason"] == "other" and numbers["kinds"] is not None:
        words = {"nearest": f"from the nearest training {unit}", "centre": f"from the mean training {unit}"}
        for name, share in numbers["kinds"].items():
            add(
                "kinds" if name == "centre" else f"kinds.{name}",
                SCREENING,
                f"Held-out {unit}s lie farther {words[name]} than training {unit}s do in {percent(share)} of pairs; 50% if alike.",
                share,
            )


def _of(count: int, whole: int) -> str:
    """How many of how many."""
    return f"{count:,}" if count == whole else f"{count:,} of {whole:,}"


def _many(count: int, what: str) -> str:
    """A number of things.

    >>> _many(1, "image"), _many(2000, "image")
    ('1 image', '2,000 images')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _denoising(numbers: Numbers, add: Any) -> None:
    unit, fit = numbers["unit"], numbers["denoising"]
    where, own = ("training", fit["training"]) if fit["training"] is not None else ("held-out", fit["held_out"])
    if own is None:
        return
    add(
        "fit" if fit["fits"] else "fit.poor",
        SCREENING,
        f"Its squared denoising error at {where} {unit}s is {own:.3g}; a linear filter leaves {fit['linear']:.3g}.",
        own,
    )
    if fit["gap"] is not None:
        text = f"At held-out {unit}s it differs by {fit['gap']:z.3g}; above 0, it is higher there."
        add("denoising", SCREENING, text, fit["gap"])


def _closer(numbers: Numbers, add: Any) -> None:
    unit, closer = numbers["unit"], numbers["closer"]
    t, loss = f"noise variance {closer['t']:.3g}", closer["lost"]
    if not closer["images"]:
        text = f"No {unit} was looked at closely: the time, or the memory, did not suffice. Raise --budget or --memory."
        add("closer.none", CLOSER, text)
        return
    if loss is None:
        values = [row["dimension"] for row in closer["images"]]
        add(
            "resolved",
            CLOSER,
            f"At {t} it resolves {sum(values) / len(values):.1f} dimensions on average at {len(values)} random {closer['images'][0]['set']} "
            f"{unit}s.",
            sum(values) / len(values),
        )
        return
    add(
        "resolved",
        CLOSER,
        f"At {t} it resolves {loss['training']:.1f} dimensions at {closer['pairs']} random training {unit}s and {loss['compared']:.1f} at held-out "
        "ones.",
        loss["dimensions"],
    )
    ends = [[row["dimension"] for row in closer["images"] if row["why"] == why] for why in ("most", "least")]
    if all(ends):
        best, worst = (sum(values) / len(values) for values in ends)
        add(
            "resolved.ends",
            CLOSER,
            f"At the {len(ends[0])} training {unit}s that it knows best it resolves {best:.1f}, at those that it knows least {worst:.1f}.",
            best,
        )


def _probed(numbers: Numbers, add: Any) -> None:
    unit, found = numbers["unit"], numbers["probed"]
    t, loss, pairs = found["t"], found["lost"], found["pairs"]
    add(
        "probed",
        PROBED,
        f"At noise variance {t:.3g} the whole spectrum has {loss['training']:.1f} dimensions at training {unit}s.",
        loss["training"],
    )
    if not numbers["held_out"]:
        add(
            "probed.left_out",
            PROBED,
            f"A model that memorized all other {unit}s would have {loss['compared']:.1f}; that is no stand-in for one that generalizes.",
            loss["compared"],
        )
    else:
        add("probed.compared", PROBED, f"At held-out {unit}s it has {loss['compared']:.1f} there.", loss["compared"])
        ratio = pairs["distance_ratio"]
        warning = "" if pairs["alike"] else " They are badly matched: read the means, not single pairs."
        add(
            "probed.pairs",
            PROBED,
            f"Paired {unit}s lie {100 * ratio:.0f}% as far apart as random ones (root mean square).{warning}",
            ratio,
        )
        n, flagged = len(found["images"]), found["flagged"]
        most = f" Most: {found['images'][0]['image']}." if flagged else ""
        add(
            "probed.flagged",
            PROBED,
            f"{flagged} of {n} training {unit}s have lost more dimensions than two held-out neighbors differ by; by chance {0.025 * n:.1f} "
            f"would.{most}",
            float(flagged),
        )
    if found["reading"] == "resolved":
        add("probed.reading", PROBED, "Dimension: number of directions with survival above ½ (resolved dimension).")
    else:
        add(
            "probed.reading",
            PROBED,
            f"Dimension: sum of survival (degrees of freedom) from random directions, standard error {found['reading_error']:.2g} or less.",
            found["reading_error"],
        )


def _setting(numbers: Numbers, add: Any) -> None:
    unit, model, data, cost = numbers["unit"], numbers["model"], numbers["data"], numbers["cost"]
    size = f", {model['parameters']:,} parameters" if model["parameters"] else ""
    add("model", SETTING, f"Model: {model['name']} ({model['words']}{size}).")
    repeats = f", {data['repeats']:,} of them exact duplicates" if data["repeats"] else ""
    kind = "Training" if numbers["trained_on"] else "Held-out"
    add("data", SETTING, f"{kind} data: {data['n']:,} {unit}s from {data['source']}{repeats}.", float(data["n"]))
    for i, note in enumerate(data["notes"]):
        add(f"note.{i}", SETTING, note)
    add(
        "cost",
        SETTING,
        f"The model was evaluated {cost['evaluations']:,} times. All work took {duration(cost['seconds'])}.",
        cost["seconds"],
    )
