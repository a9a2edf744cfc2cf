"""Articles: what follows from a claim, and a page that says it, red where it must."""

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from bnn.errors import InputError
from bnn.plots.style import new_axes
from bnn.report.article import Formula, Section, Table, mathml, picture, prose, render
from bnn.report.claims import (
    Claim,
    difference,
    exact,
    finding,
    identity,
    replicated,
    small,
    tally,
)
from bnn.report.writing import Article, Work, command_line
from bnn.statistics import paired_difference

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)> & \u202e \x1b[31m"


def holding(**changes) -> Claim:
    return identity("a statement", **{"found": 1.0, "expected": 1.0, "tolerance": 0.1} | changes)


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "holds"),
        ({"found": 1.09}, "holds"),
        ({"found": 0.91}, "holds"),
        ({"found": 1.11}, "fails"),
        ({"found": 0.89}, "fails"),
        ({"found": 1.0, "tolerance": 0.0}, "holds"),
        ({"found": math.nan}, "fails"),
        ({"found": math.nan, "relation": "≥"}, "fails"),
        ({"found": math.nan, "relation": "≤"}, "fails"),
        ({"found": math.inf}, "fails"),
        ({"found": math.inf, "expected": math.inf, "tolerance": 0.0}, "holds"),
        ({"found": -math.inf, "expected": math.inf}, "fails"),
        ({"found": 1.0, "tolerance": math.nan, "expected": 2.0}, "fails"),
        ({"found": 9.0, "relation": "≥"}, "holds"),
        ({"found": 0.95, "relation": "≥"}, "holds"),
        ({"found": 0.85, "relation": "≥"}, "fails"),
        ({"found": -9.0, "relation": "≤"}, "holds"),
        ({"found": 1.15, "relation": "≤"}, "fails"),
        ({"found": torch.tensor(1.0)}, "holds"),
    ],
)
def test_an_identity_holds_or_fails(changes, verdict) -> None:
    claim = holding(**changes)
    assert claim.verdict == verdict
    assert claim.failed == (verdict == "fails")


@pytest.mark.parametrize(
    ("interval", "relation", "verdict"),
    [
        ((0.1, 0.3), "≥", "as expected"),
        ((-0.1, 0.3), "≥", "undecided"),
        ((-0.3, -0.1), "≥", "not as expected"),
        ((-0.3, -0.1), "≤", "as expected"),
        ((-0.1, 0.3), "≤", "undecided"),
        ((0.1, 0.3), "≤", "not as expected"),
        ((-0.1, 0.3), "=", "consistent"),
        ((0.1, 0.3), "=", "not as expected"),
        ((math.nan, math.nan), "≥", "undecided"),
    ],
)
def test_a_finding_is_judged_by_its_interval(interval, relation, verdict) -> None:
    claim = finding("x", found=sum(interval), interval=interval, expected=0.0, relation=relation)
    assert claim.verdict == verdict
    assert not claim.failed


def test_a_finding_without_expectation_is_reported() -> None:
    assert finding("x", found=1.0).verdict == "reported"
    assert finding("x", found=1.0, interval=(0.0, 2.0)).verdict == "reported"


def test_repetitions_have_the_t_interval_of_their_mean() -> None:
    claim = replicated("x", torch.tensor([1.0, 2.0, 3.0]), expected=0.0, relation="≥")
    reach = 4.302652729911275 / math.sqrt(3)  # t with 2 degrees of freedom, 0.975
    assert claim.found == 2.0
    assert claim.interval == pytest.approx((2 - reach, 2 + reach), abs=1e-9)
    assert claim.verdict == "undecided"
    with pytest.raises(InputError, match="at least two replicas"):
        replicated("x", [1.0])


def test_a_difference_brings_the_interval_of_its_design() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 4, 30, generator=generator)
    found = paired_difference(a, b, "resplit", 90)
    claim = difference("x", found, unit="nats")
    assert (claim.found, claim.interval) == (found.estimate, (found.low, found.high))


def test_the_tally_counts_every_claim() -> None:
    assert tally([holding()]) == ["1 identity, which holds"]
    assert tally([holding(), holding()]) == ["2 identities, all hold"]
    assert tally([holding(), holding(found=9.0)]) == ["1 of 2 identities fails"]
    findings = [finding("x", found=1.0), replicated("y", [1.0, 1.1], expected=0.0, relation="≥")]
    assert tally([holding(), *findings]) == [
        "1 identity, which holds",
        "2 findings: 1 as expected, 1 reported",
    ]
    assert tally([holding(found=9.0)] * 2) == ["2 of 2 identities fail"]
    assert tally([]) == []


def test_numbers_are_printed_as_people_write_them() -> None:
    assert exact(0.0020020027) == "0.0020020027"
    assert exact(6.90775527) == "6.9077553"
    assert exact(-2.5) == "−2.5"
    assert exact(0.0) == exact(-0.0) == "0"
    assert exact(math.inf) == "∞"
    assert small(1e-12) == "1 × 10⁻¹²"
    assert small(3.14e-13) == "3.1 × 10⁻¹³"
    assert small(0.25) == "0.25"


def everything(claim: Claim) -> list[Section]:
    ax = new_axes()
    ax.plot([0, 1], [0, 1])
    body = (
        f"{HOSTILE} with $p_k$ in it",
        Formula(r"\frac{1}{N} \sum_{n=1}^{N} H(y_n, p_n)"),
        claim,
        replicated(f"{HOSTILE} found", [1.0, 2.0], unit="nats"),
        Table(HOSTILE, ("a", HOSTILE), (("row", HOSTILE),)),
        picture(ax, f"title {HOSTILE}", f"seen {HOSTILE}", HOSTILE),
    )
    return [Section(HOSTILE, body), Section("Left out", ("words",), not_run=HOSTILE)]


def page(claim: Claim) -> str:
    return render("A title", ("What $x$ is.",), everything(claim), command="python a.py")


class Tags(HTMLParser):
    """All tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data) -> None:
        self.text += data


def test_the_page_is_strict_readable_and_escapes_what_it_is_given() -> None:
    html = page(holding())
    found = Tags(html)
    names = [tag for tag, _ in found.tags]
    assert "script" not in names
    assert names.count("img") == 0
    assert not any(key == "style" or key.startswith("on") for _, at in found.tags for key in at)
    policy = next(at["content"] for _, at in found.tags if "http-equiv" in at)
    assert "default-src 'none'" in policy
    assert "script-src 'none'" in policy
    assert "'unsafe" not in policy
    assert "alert(1)" in found.text
    assert "\u202e" not in html
    assert "\x1b" not in html
    assert names.count("math") == 3
    assert {"svg", "title", "desc", "table", "figure"} <= set(names)
    outside = html.replace("http://www.w3.org/", "").replace(HOSTILE, "")
    assert "http" not in outside.replace("http-equiv", "")


def test_a_section_that_was_not_run_says_why() -> None:
    text = Tags(page(holding())).text
    assert "Not run: </script>" in text
    assert "Left out" in text


def test_the_same_article_is_the_same_bytes() -> None:
    assert page(holding()) == page(holding())
    assert not re.search(r"\d{2}:\d{2}", page(holding()))


def test_a_failure_is_red_and_in_words() -> None:
    good, bad = page(holding()), page(holding(found=2.0))
    assert 'class="fails"' not in good
    assert '<p class="failure">' not in good
    assert 'class="fails"' in bad
    assert '<p class="failure">1 identity, which fails' in bad
    assert Tags(bad).text.count("fails") >= 3
    style = Path(render.__code__.co_filename).with_name("article.css").read_text()
    assert re.search(r"\.fails[^}]*var\(--bad\)", style)


def test_formulas_are_mathml() -> None:
    assert "<msub>" in prose("the number $p_k$ of <b>")
    assert "&lt;b&gt;" in prose("the number $p_k$ of <b>")
    assert 'display="block"' in mathml("x", "block")
    with pytest.raises(InputError, match="dollars in pairs"):
        prose("one $ too few")
    for wrong in (r"\frac{", r"\text{<b>}"):
        with pytest.raises(InputError, match="a formula in LaTeX"):
            mathml(wrong)


def run(monkeypatch, section, *arguments: str) -> int:
    """Run an article of one section from the command line, and return its exit code."""
    article = Article("name", "A title", ("What it is.",), (section,))
    monkeypatch.setattr("sys.argv", ["article.py", *arguments])
    with pytest.raises(SystemExit) as left:
        command_line(article)
    return int(left.value.code or 0)


def test_a_true_identity_exits_with_0_and_a_false_one_with_1(monkeypatch, tmp_path, capsys) -> None:
    file = tmp_path / "deep" / "page.html"

    def said(work: Work) -> Section:
        return Section("Sums", (identity("1 + 1", found=2, expected=2, tolerance=0),))

    def false(work: Work) -> Section:
        return Section("Sums", (identity("1 + 1", found=2, expected=3, tolerance=0.5),))

    assert run(monkeypatch, said, "--report", str(file)) == 0
    assert 'class="fails"' not in file.read_text()
    assert "quick" not in file.read_text()
    capsys.readouterr()
    assert run(monkeypatch, false, "--quick", "--report", str(file)) == 1
    assert 'class="fails"' in file.read_text()
    assert "A quick look" in file.read_text()
    assert "fails: 1 + 1" in capsys.readouterr().out


def test_what_goes_wrong_is_one_sentence(monkeypatch, tmp_path, capsys) -> None:
    file = tmp_path / "page.html"

    def refused(work: Work) -> Section:
        raise InputError("an apple", "a pear", "Bring an apple.")

    def stopped(work: Work) -> Section:
        raise KeyboardInterrupt

    assert run(monkeypatch, refused, "--report", str(file)) == 2
    assert capsys.readouterr().err.strip() == "Expected an apple; found a pear. Bring an apple."
    assert run(monkeypatch, stopped, "--report", str(file)) == 130
    assert not file.exists()
    assert run(monkeypatch, refused, "--report", str(tmp_path)) == 2
    assert "to write the report" in capsys.readouterr().err


def test_without_the_package_for_formulas_it_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "latex2mathml.converter", None)
    with pytest.raises(InputError, match=r"pip install \"bnn\[theory\]\""):
        mathml("x")
