"""What was found of a model, in short sentences by key."""

from typing import Any

from geomem.findings.copies import copies_findings
from geomem.findings.finding import Finding, Findings, Number
from geomem.jobs.audit.numbers import Numbers
from geomem.jobs.audit.words import percent
from geomem.jobs.progress import duration

__all__ = ["DIMENSIONS", "IMAGES", "SCREENING", "SETTING", "findings_of", "short_of"]

# Sections of the page.
DIMENSIONS, IMAGES, SCREENING, SETTING = "dimensions", "images", "screening", "setting"
# Keys of those on the first screen, the most important first; the first five that there are.
_SHORT = ("fit.poor", "lost", "kinds", "membership", "copies.rate", "agreement", "calibration", "denoising", "flagged")


def findings_of(numbers: Numbers) -> Findings:
    """All findings."""
    out = Findings()

    def add(key: str, section: str, text: str, value: Number = None) -> None:
        out.add(Finding(key, section, text, value))

    _dimensions(numbers, add)
    _denoising(numbers, add)
    _images(numbers, add)
    _screening(numbers, add)
    if numbers["copies"] is not None:
        for finding in copies_findings(numbers["copies"], numbers["unit"]):
            out.add(finding)
    _setting(numbers, add)
    return out


def short_of(findings: Findings) -> list[str]:
    """At most five of them."""
    return [findings[key].text for key in _SHORT if key in findings][:5]


def _dimensions(numbers: Numbers, add: Any) -> None:
    unit, t, pairs = numbers["unit"], numbers["reference_t"], numbers["pairs"]
    loss, ideal = numbers["lost"], numbers["empirical"]
    training, compared = loss["training"], loss["compared"]
    add(
        "training",
        DIMENSIONS,
        f"At noise variance {t:.3g} the model has {training:.1f} dimensions at its training {unit}s.",
        training,
    )
    if not numbers["held_out"]:
        add(
            "empirical",
            DIMENSIONS,
            f"A model that memorized perfectly (the empirical score) would have {ideal['training']:.1f} there.",
            ideal["training"],
        )
        add(
            "left_out",
            DIMENSIONS,
            f"One that memorized all other {unit}s would have {ideal['compared']:.1f}; that is no stand-in for a model that generalizes.",
            ideal["compared"],
        )
        return
    add("compared", DIMENSIONS, f"At held-out {unit}s it has {compared:.1f} there.", compared)
    add(
        "lost",
        DIMENSIONS,
        f"It has lost {percent(loss['fraction'])} of its dimensions at training {unit}s, at noise variance {t:.3g}.",
        loss["fraction"],
    )
    add(
        "empirical",
        DIMENSIONS,
        f"Perfect memorization (the empirical score) would lose {percent(ideal['fraction'])} there.",
        ideal["fraction"],
    )
    agreement = numbers["agreement"]
    if agreement["of"] > 1:
        add(
            "agreement",
            DIMENSIONS,
            f"Of {agreement['of']} noise levels at which memorization would show, {agreement['count']} give the same verdict by their dimensions.",
            float(agreement["count"]),
        )
    ratio = pairs["distance_ratio"]
    warning = "" if pairs["alike"] else " They are badly matched: read the means, not single pairs."
    add(
        "pairs",
        DIMENSIONS,
        f"Paired {unit}s lie {100 * ratio:.0f}% as far apart as random ones (root mean square).{warning}",
        ratio,
    )
    if numbers["verdict"]["reason"] == "other":
        words = {"nearest": f"from the nearest training {unit}", "centre": f"from the mean training {unit}"}
        for name, share in numbers["kinds"].items():
            add(
                "kinds" if name == "centre" else f"kinds.{name}",
                DIMENSIONS,
                f"Held-out {unit}s lie farther {words[name]} than training {unit}s do in {percent(share)} of pairs; 50% if alike.",
                share,
            )


def _denoising(numbers: Numbers, add: Any) -> None:
    unit, fit = numbers["unit"], numbers["denoising"]
    poor = fit["training"].high >= fit["linear"]
    add(
        "fit.poor" if poor else "fit",
        DIMENSIONS,
        f"Its squared denoising error at training {unit}s is {fit['training']:.3g}; a linear filter leaves {fit['linear']:.3g}.",
        fit["training"],
    )
    gap = fit["gap"]
    if gap is None:
        return
    over = [row["t"] for row in numbers["levels"] if row["denoising"]["gap"].low > 0]
    if gap.low > 0:
        text = f"Its denoising error is {gap:.3g} higher at held-out {unit}s than at their partners: it fits training {unit}s better."
    elif over:
        text = (
            f"Its denoising error differs by {gap:z.3g} within pairs, but at {len(over)} of {len(numbers['levels'])} noise levels it is "
            f"significantly higher at held-out {unit}s."
        )
    else:
        text = f"Its denoising error is not significantly higher at held-out {unit}s: {gap:z.3g} within pairs."
    add("denoising", DIMENSIONS, text, gap)


def _images(numbers: Numbers, add: Any) -> None:
    if not numbers["held_out"]:
        return
    unit, n, halved = numbers["unit"], len(numbers["images"]), numbers["lost"]["halved"]
    flagged = numbers["flagged"]
    most = f" Most: {numbers['images'][0]['image']}." if flagged else ""
    add(
        "flagged",
        IMAGES,
        f"{flagged} of {n} training {unit}s have lost more dimensions than two held-out neighbors differ by; by chance {0.025 * n:.1f} would.{most}",
        float(flagged),
    )
    add(
        "halved",
        IMAGES,
        f"{halved.count} of {n} have less than half of their partner's dimensions: at most {100 * halved.high:.0f}% of all training "
        f"{unit}s do (95%).",
        halved,
    )
    if numbers["near_copies"]:
        add(
            "near_copies",
            IMAGES,
            f"{numbers['near_copies']:,} held-out {unit}s were passed over: a training {unit} is a near duplicate of each.",
            float(numbers["near_copies"]),
        )


def _screening(numbers: Numbers, add: Any) -> None:
    found, unit = numbers["screening"], numbers["unit"]
    if found is None:
        return
    best, share = found["membership"], found["lost"]["fraction"]
    t = f"noise variance {best['t']:.3g}"
    add(
        "screened",
        SCREENING,
        f"{found['training']:,} training and {found['held_out']:,} held-out {unit}s were screened, each at {len(found['levels'])} noise "
        "levels.",
        float(found["training"]),
    )
    add(
        "membership",
        SCREENING,
        f"Its denoising error tells a training {unit} from a held-out one in {percent(best['auc'])} of pairs, at {t}; 50% is chance.",
        best["auc"],
    )
    if best["rate"] is not None:
        add(
            "membership.rate",
            SCREENING,
            f"{best['rate']} of training {unit}s have a smaller error there than 99% of held-out ones.",
            best["rate"],
        )
    add(
        "screened.lost",
        SCREENING,
        f"It has lost {percent(share)} of its degrees of freedom at training {unit}s there.",
        share,
    )
    ratio = found["calibration"]["held_out"]
    add(
        "calibration",
        SCREENING,
        f"Its error at held-out {unit}s is {ratio:.2f} times its degrees of freedom there; a model that generalizes has 1.",
        ratio,
    )


def _setting(numbers: Numbers, add: Any) -> None:
    unit, model, data, cost = numbers["unit"], numbers["model"], numbers["data"], numbers["cost"]
    size = f", {model['parameters']:,} parameters" if model["parameters"] else ""
    add("model", SETTING, f"Model: {model['name']} ({model['words']}{size}).")
    repeats = f", {data['repeats']:,} of them exact duplicates" if data["repeats"] else ""
    add("data", SETTING, f"Training data: {data['n']:,} {unit}s from {data['source']}{repeats}.", float(data["n"]))
    for i, note in enumerate(data["notes"]):
        add(f"note.{i}", SETTING, note)
    if numbers["reading"] == "resolved":
        add("reading", SETTING, "Dimension: number of directions with survival above ½ (resolved dimension).")
    else:
        add(
            "reading",
            SETTING,
            f"Dimension: sum of survival (degrees of freedom) from random directions, standard error {numbers['reading_error']:.2g} or less.",
            numbers["reading_error"],
        )
    add(
        "cost",
        SETTING,
        f"The model was evaluated {cost['evaluations']:,} times; the estimate for the whole was {duration(cost['seconds'])}.",
        cost["seconds"],
    )
