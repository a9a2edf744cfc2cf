"""Figures: they draw the numbers they are given, and their SVG is fit for a strict page."""

import re
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from bnn import METHODS, plots
from bnn.metrics.calibration import Reliability
from bnn.plots.style import INK, STYLES, plain, style_of, visible
from bnn.run import Curve

HOSTILE = (
    "<b>bold</b>",
    "</script><script>alert(1)</script>",
    "\" onload='alert(1)' x=\"",
    "$x^2$ and $\\frac{",
    "esc\x1b[31m nul\x00 del\x7f",
    "\u202egnorw",
    "مرحبا",
    "🎉🎊",
    "x" * 10_000,
    "lone \ud800 half",
    "-->]]><![CDATA[",
    "&amp;&#x3c;",
    "",
)


def lattice():
    grid = np.stack(np.meshgrid(np.linspace(-1, 2, 12), np.linspace(0, 1, 9)), -1).reshape(-1, 2)
    second = (grid[:, 0] + 1) / 3
    return grid, np.stack([1 - second, second], 1)


def diagram(x):
    return Reliability(x, x**2, x / 2, x, 0.9)


def every_figure():
    rng = np.random.default_rng(0)
    x = np.linspace(0, 1, 30)
    grid, probs = lattice()
    train = rng.normal(size=(20, 2)), rng.integers(0, 2, 20)
    return {
        "reliability": plots.reliability([diagram(x), diagram(x)], x, title="MLE"),
        "entropy": plots.entropy({"test": x, "unseen": x + 0.5}, 8),
        "probability": plots.probability(grid, probs, *train),
        "doubt": plots.doubt(grid, probs[:, 0] * 0.6, 2, *train),
        "bands": plots.bands(x, x, x / 2, interval=(x - 2, x + 2), truth=x, data=(x, x)),
        "curves": plots.curves([Curve((1, 2), (1.0, 0.5), (1.0, 0.7), 2)]),
        "differences": plots.differences({"map": (0.0, -1.0, 1.0), "new": (1.0, 0.5, 1.5)}),
        "ranks": plots.ranks({"map": 1.0, "mle": 2.0, "new": 3.0}, 1.5, [("map", "mle")]),
        "cost": plots.cost({"mle": (1.0, 0.5, 0.1), "map": (2.0, 0.4, float("nan"))}),
    }


@pytest.mark.parametrize("name", every_figure())
def test_the_svg_is_strict_and_the_same_every_time(name):
    texts = [plots.svg(every_figure()[name].figure, name, "what one sees") for _ in range(2)]
    assert texts[0] == texts[1]
    root = ElementTree.fromstring(texts[0])
    assert root.attrib["role"] == "img"
    assert root[0].text == name
    assert root[1].text == "what one sees"
    assert root.attrib["aria-labelledby"].split() == [root[0].attrib["id"], root[1].attrib["id"]]
    for element in root.iter():
        assert "style" not in element.attrib
        assert not element.tag.endswith(("style", "script", "metadata"))
        assert not any(key.startswith("on") for key in element.attrib)
    assert "#000000" not in texts[0]
    assert "http" not in texts[0].replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"\d{4}-\d\d-\d\d", texts[0])  # no date


def test_ids_are_unique_over_figures_and_every_reference_is_met():
    page = "".join(plots.svg(ax.figure, name, "") for name, ax in every_figure().items())
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    references = set(re.findall(r'href="#([^"]+)"', page) + re.findall(r"url\(#([^)]+)\)", page))
    assert references
    assert references <= set(ids)


def test_colours_survive_and_black_becomes_the_colour_of_the_text():
    figure = Figure()
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1], color=STYLES["map"].colour)
    ax.plot([0, 1], [1, 0], color=INK)
    text = plots.svg(figure, "t", "d")
    assert 'stroke="#0072b2"' in text
    assert 'stroke="currentColor"' in text


def test_nothing_enters_the_list_of_pyplot():
    from matplotlib import pyplot

    for name, ax in every_figure().items():
        plots.svg(ax.figure, name, "")
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_inert_text(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ax = plots.differences({name: (0.0, -1.0, 1.0)}, title=name)
        text = plots.svg(ax.figure, name, name)
    root = ElementTree.fromstring(text)
    assert {element.tag.rpartition("}")[2] for element in root.iter()} <= {
        "svg", "title", "desc", "g", "defs", "clipPath", "path", "rect", "use", "text", "tspan"
    }  # fmt: skip
    assert root[0].text == (visible(name) or None)
    marked = [e for e in root.iter() if "data-method" in e.attrib]
    assert len(marked) == 2


@pytest.mark.parametrize("name", HOSTILE)
def test_plain_text_is_short_visible_and_not_mathematics(name):
    text = plain(name)
    assert len(text) <= 28 + name.count("$")
    assert text.count("$") == text.count("\\$")
    assert text == visible(text)
    text.encode()


def test_every_method_has_its_own_look():
    from bnn.methods import CORE, METHODS

    assert [method.name for method in METHODS] == [
        name for name in STYLES if name in names(METHODS)
    ]
    assert names(METHODS) <= STYLES.keys()
    for looks in ("dash", "marker"):  # kin share a colour, and nothing else
        pairs = {(style.colour, getattr(style, looks)) for style in STYLES.values()}
        assert len(pairs) == len(STYLES)
    core = [STYLES[method.name] for method in CORE]
    for looks in ("colour", "dash", "marker"):
        assert len({getattr(style, looks) for style in core}) == len(core)


def names(methods):
    return {method.name for method in methods}


def test_an_unknown_method_looks_the_same_every_time():
    assert style_of("another") == style_of("another")
    looks = {style_of(f"method {number}") for number in range(12)}
    assert len(looks) > 8


def contrast(one, other):
    def luminance(colour):
        parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    low, high = sorted([luminance(one), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_the_colours_of_methods_stand_out_on_light_and_on_dark():
    assert contrast("#ffffff", "#000000") == pytest.approx(21.0)
    for name, style in STYLES.items():
        if style.colour == INK:
            continue  # becomes the colour of the text
        assert contrast(style.colour, "#ffffff") > 2.6, name
        assert contrast(style.colour, "#15181d") > 3.0, name


def test_given_axes_are_used_and_returned():
    grid, probs = lattice()
    x = np.linspace(0, 1, 5)
    for draw in (
        lambda ax: plots.reliability([diagram(x)], ax=ax),
        lambda ax: plots.entropy({"test": x}, ax=ax),
        lambda ax: plots.probability(grid, probs, ax=ax),
        lambda ax: plots.doubt(grid, probs[:, 0], 2, ax=ax),
        lambda ax: plots.bands(x, x, x, ax=ax),
        lambda ax: plots.curves([], ax=ax),
        lambda ax: plots.differences({}, ax=ax),
        lambda ax: plots.cost({}, ax=ax),
        lambda ax: plots.ranks({"map": 1.0}, 1.0, ax=ax),
    ):
        ax = Figure().subplots()
        assert draw(ax) is ax


def test_the_names_of_all_methods_fit_beside_the_picture_of_cost():
    points = {method.name: (1.0, 0.5, 0.1) for method in METHODS}
    ax = plots.cost(points, labels={m.name: m.label for m in METHODS})
    svg = plots.svg(ax.figure, "Cost", "Seconds and score.")
    assert all(method.label in svg for method in METHODS)  # and no warning of a lack of room


def test_entropy_shares_are_those_of_the_rows():
    ax = plots.entropy({"test": np.array([0.0, 0.0, 0.0, np.log(8)]), "none": np.zeros(0)}, 8)
    values = ax.patches[0].get_data().values
    assert values[0] == 0.75
    assert values[-1] == 0.25  # total ignorance is inside the axis
    assert values.sum() == 1.0
    assert len(ax.patches) == 2  # one condition: outline and filling


def test_curves_show_the_median_and_the_range_of_what_is_finite():
    replicas = [
        Curve((1, 2, 3), (3.0, 2.0, 1.0)),
        Curve((1, 2), (5.0, float("inf"))),
        Curve((1, 2, 3), (4.0, 4.0, 3.0), best=2),
    ]
    ax = plots.curves(replicas)
    line = ax.lines[0]
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(line.get_ydata(), [4.0, 3.0, 2.0])
    box = ax.collections[0].get_paths()[0].get_extents()
    assert (box.y0, box.y1) == (1.0, 5.0)
    np.testing.assert_array_equal(ax.lines[-1].get_xdata(), [2])


def test_a_curve_that_is_never_finite_draws_nothing():
    ax = plots.curves([Curve((1, 2), (float("nan"), float("inf")))])
    plots.svg(ax.figure, "t", "d")
    assert all(len(line.get_xdata()) == 0 for line in ax.lines)


def test_bands_show_the_weights_and_the_quantiles_that_are_given():
    x, zero, four = np.array([1.0, 0.0]), np.zeros(2), np.full(2, 4.0)
    ax = plots.bands(x, zero, four, interval=(np.array([-9.0, -5.0]), np.array([20.0, 30.0])))
    outer, inner = (part.get_paths()[0] for part in ax.collections)
    assert inner.get_extents().y1 == 2 * 4.0
    assert (outer.get_extents().y0, outer.get_extents().y1) == (-9.0, 30.0)
    assert [0.0, 30.0] in outer.vertices.tolist()  # sorted with the inputs
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [0.0, 1.0])


def test_bands_claim_no_coverage_without_quantiles():
    ax = plots.bands(np.arange(2.0), np.zeros(2), np.ones(2))
    assert len(ax.collections) == 1
    assert not any("95" in text.get_text() for text in ax.get_legend().get_texts())


def test_the_surface_has_each_value_in_its_place_whatever_the_order_of_the_grid():
    grid, probs = lattice()
    order = np.random.default_rng(0).permutation(len(grid))
    image = plots.probability(grid[order], probs[order]).images[0].get_array()
    np.testing.assert_allclose(image, probs[:, 1].reshape(9, 12))
    assert plots.doubt(grid[order], grid[order, 1] * 0.5, 2).images[0].get_array()[0, 0] == 0.0


def test_a_grid_that_is_no_lattice_is_drawn_too():
    rng = np.random.default_rng(0)
    grid = rng.normal(size=(50, 2))
    probs = rng.dirichlet([1, 1, 1], 50)
    ax = plots.probability(grid, probs)
    assert not ax.images
    assert ax.collections


def test_the_decision_line_lies_where_both_classes_are_equally_likely():
    grid, probs = lattice()
    ax = plots.probability(grid, probs)
    (line,) = [path.vertices for path in ax.collections[0].get_paths() if len(path.vertices)]
    np.testing.assert_allclose(line[:, 0], 0.5, atol=1e-9)


def test_a_forest_row_shows_its_interval():
    ax = plots.differences(
        {"map": (0.5, -1.0, 2.0)}, labels={"map": "MAP"}, better="better to the left"
    )
    interval, point = ax.lines[1:]
    np.testing.assert_array_equal(interval.get_xdata(), [-1.0, 2.0])
    np.testing.assert_array_equal(point.get_xdata(), [0.5])
    assert ax.get_yticklabels()[0].get_text() == "MAP"
    assert "better to the left" in ax.get_xlabel()


def test_ranks_have_a_row_each_and_a_bracket_around_those_that_may_be_equal():
    mean = {"map": 1.25, "new": 2.0, "mle": 2.75}
    groups = [("map", "new"), ("new", "mle")]
    ax = plots.ranks(mean, 0.9, groups, labels={"map": "MAP"})
    assert [text.get_text() for text in ax.get_yticklabels()] == ["MAP", "new", "mle"]
    points = [line for line in ax.lines if line.get_gid()]
    assert [(p.get_xdata()[0], p.get_ydata()[0]) for p in points] == [
        (1.25, 0), (2.0, 1), (2.75, 2)
    ]  # fmt: skip
    scale, *brackets = [line for line in ax.lines if len(line.get_xdata()) == 2][-3:]
    np.testing.assert_allclose(np.diff(scale.get_xdata()), 0.9)
    assert ax.texts[0].get_text().strip() == "critical difference 0.90"
    covered = [
        [row for row in range(3) if b.get_ydata()[0] <= row <= b.get_ydata()[1]] for b in brackets
    ]
    assert covered == [[0, 1], [1, 2]]
    assert brackets[0].get_xdata()[0] < brackets[1].get_xdata()[0]  # they do not cover each other


def test_a_reliability_diagram_shows_every_replica_and_one_band():
    x = np.linspace(0.2, 1, 9)
    ax = plots.reliability([diagram(x), diagram(x / 2)], x)
    diagonal, first, second = ax.lines
    np.testing.assert_array_equal(diagonal.get_ydata(), [0, 1])
    np.testing.assert_array_equal(first.get_ydata(), x**2)
    np.testing.assert_array_equal(second.get_xdata(), x / 2)
    (band,) = ax.collections
    assert band.get_paths()[0].get_extents().y0 == pytest.approx(0.1)
    heights = np.array([bar.get_height() for bar in ax.patches])
    assert heights[:3].sum() == 0.0
    assert heights.max() > 0.0


def test_markers_in_one_row_keep_their_places() -> None:
    figure = Figure()
    ax = figure.add_subplot()
    ax.plot([0.0, 1.0, 2.0], [5.0, 5.0, 5.0], "o", markersize=4)
    root = ElementTree.fromstring(plots.svg(figure, "a row", "three dots on one height"))
    uses = [e for e in root.iter() if e.tag.endswith("use")]
    groups = [e for e in root.iter() if e.tag.endswith("}g") or e.tag == "g"]
    assert all("x" not in group.attrib and "y" not in group.attrib for group in groups)
    assert all({"x", "y"} <= use.attrib.keys() for use in uses)
