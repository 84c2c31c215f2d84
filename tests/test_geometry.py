"""Geometry by properties (every rotation, every order of the input) and reading order on pages drawn by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from liteocr import geometry

coordinates = st.floats(-500, 500, width=32)
points4 = st.lists(st.tuples(coordinates, coordinates), min_size=4, max_size=4).map(lambda p: np.array(p, np.float32))


def rectangle(x: float, y: float, width: float, height: float, degrees: float = 0.0) -> np.ndarray:
    """A quad around the middle (x, y), turned clockwise as seen."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (width / 2, height / 2)
    return (rotate(corners, degrees) + np.array([x, y])).astype(np.float32)


def rotate(points: np.ndarray, degrees: float) -> np.ndarray:
    """Points turned clockwise as seen, about the origin."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return points @ np.array([[c, s], [-s, c]])


def area(polygon: np.ndarray) -> float:
    """Signed area, above 0 for clockwise as seen (y points down)."""
    x, y = np.asarray(polygon, np.float64).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def same_corners(a: np.ndarray, b: np.ndarray, tolerance: float = 1e-3) -> bool:
    """Whether two quads are equal but for where they start."""
    return any(np.abs(np.roll(a, k, axis=0) - b).max() <= tolerance for k in range(4))


rectangles = st.builds(
    rectangle,
    st.floats(60, 140),
    st.floats(60, 140),
    st.floats(8, 100),
    st.floats(8, 100),
    st.floats(-180, 180),
)


# --- quads


@given(points4, st.permutations(range(4)))
def test_order_quad_does_not_depend_on_the_input_s_order(points: np.ndarray, order: list[int]) -> None:
    ordered = geometry.order_quad(points)
    np.testing.assert_array_equal(geometry.order_quad(points[order]), ordered)
    assert sorted(map(tuple, ordered.tolist())) == sorted(map(tuple, points.tolist()))
    assert ordered.dtype == np.float32


@given(rectangles)
def test_an_ordered_rectangle_is_clockwise_and_its_text_runs_rightwards_or_down(quad: np.ndarray) -> None:
    ordered = geometry.order_quad(quad)
    assert area(ordered) > 0
    assert same_corners(ordered, quad)
    np.testing.assert_array_equal(geometry.order_quad(ordered), ordered)
    width, height = geometry.quad_size(ordered)
    along = geometry.upright(ordered)[1] - geometry.upright(ordered)[0]
    if height >= 1.51 * width:
        assert along[1] > 0.85 * np.hypot(*along)
    elif width >= 1.51 * height:
        assert along[0] > 0.49 * np.hypot(*along)


@pytest.mark.parametrize("degrees", [-59, -46, -45, -44, -20, 0, 20, 44, 45, 46, 59])
def test_a_long_line_starts_at_its_left_up_to_60_degrees(degrees: float) -> None:
    quad = rectangle(100, 100, 80, 20, degrees)
    np.testing.assert_allclose(geometry.order_quad(quad[[2, 0, 3, 1]]), quad)
    assert not geometry.is_vertical(geometry.order_quad(quad))


@pytest.mark.parametrize("degrees", [-119, -100, -90, -80, -61, 61, 80, 90, 100, 119])
def test_a_steep_line_runs_downwards(degrees: float) -> None:
    quad = geometry.order_quad(rectangle(100, 100, 80, 20, degrees))
    assert geometry.is_vertical(quad)
    assert quad[0, 0] < quad[1, 0]
    up = geometry.upright(quad)
    assert geometry.quad_size(up) == pytest.approx((80, 20), abs=1e-3)
    assert up[1, 1] > up[0, 1]
    assert up[0, 0] > up[3, 0]  # its upper side is the picture's right


def test_what_is_about_square_runs_as_its_page_does() -> None:
    across = [box(10, 40 * i, 200, 20) for i in range(4)]
    down = [box(40 * i, 10, 20, 200) for i in range(4)]
    square = box(300, 300, 20, 22)
    assert not geometry.is_vertical(square, geometry.page_ratio([*across, square]))
    assert geometry.is_vertical(square, geometry.page_ratio([*down, square]))
    assert not geometry.is_vertical(square, geometry.page_ratio([*down[:2], square]))  # too few to tell
    assert not geometry.is_vertical(square, geometry.page_ratio([*down, *across[:2], square]))
    assert not geometry.is_vertical(across[0], geometry.page_ratio([*down, across[0]]))  # long lines tell themselves
    assert geometry.page_ratio([]) == geometry.VERTICAL_RATIO


def test_order_quad_of_a_diamond_starts_at_its_top() -> None:
    for x, y in itertools.product((0, 0.00001, -0.00001), repeat=2):
        diamond = np.array([[10 + x, 0], [20, 10 + y], [10, 20], [0, 10]])
        for order in itertools.permutations(range(4)):
            np.testing.assert_allclose(geometry.order_quad(diamond[list(order)])[0], [10, 0], atol=1e-4)


def test_order_quad_keeps_a_trapezoid_s_corners_in_their_places() -> None:
    trapezoid = np.array([[20, 0], [80, 4], [100, 30], [0, 30]], np.float32)
    np.testing.assert_array_equal(geometry.order_quad(trapezoid[::-1]), trapezoid)


@pytest.mark.parametrize("shape", [(3, 2), (5, 2), (4, 3), (8,)])
def test_order_quad_refuses_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        geometry.order_quad(np.zeros(shape))


def test_quad_size_is_the_mean_of_opposite_sides() -> None:
    assert geometry.quad_size(np.array([[0, 0], [10, 0], [14, 3], [0, 6]])) == pytest.approx(
        ((10 + math.hypot(14, 3)) / 2, (5 + 6) / 2)
    )


@given(rectangles)
def test_min_area_quad_of_a_rectangle_is_the_rectangle(quad: np.ndarray) -> None:
    inside = [quad.mean(axis=0), quad[0] * 0.9 + quad[2] * 0.1]
    found = geometry.min_area_quad(np.concatenate([quad, inside]))
    # a square has more than one smallest rectangle up to rounding; its corners stay
    assert same_corners(found, geometry.order_quad(quad), 0.05)
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    "points",
    [
        [[3, 4]],
        [[3, 4], [3, 4]],
        [[3, 4], [9, 4]],
        [[3, 4], [3, 9], [3, 30]],
        [[0, 0], [1, 1], [5, 5], [40, 40]],
        [[1e4, 1e4], [1e4, 1e4 + 0.25]],
    ],
)
def test_min_area_quad_is_a_pixel_wide_at_least(points: list[list[float]]) -> None:
    quad = geometry.min_area_quad(np.array(points))
    assert min(geometry.quad_size(quad)) == pytest.approx(1, abs=2e-3)
    assert area(quad) > 0
    np.testing.assert_allclose(quad.mean(axis=0), (np.min(points, axis=0) + np.max(points, axis=0)) / 2, atol=1e-2)


def test_min_area_quad_refuses_no_points() -> None:
    with pytest.raises(ValueError, match="expected"):
        geometry.min_area_quad(np.zeros((0, 2)))


@given(rectangles, st.floats(0, 20), st.floats(0, 20))
def test_grow_quad_moves_ends_and_sides(quad: np.ndarray, along: float, across: float) -> None:
    width, height = geometry.quad_size(quad)
    grown = geometry.grow_quad(quad, along, across)
    assert geometry.quad_size(grown) == pytest.approx((width + 2 * along, height + 2 * across), abs=1e-3)
    np.testing.assert_allclose(grown.mean(axis=0), quad.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(geometry.grow_quad(grown, -along, -across), quad, atol=1e-3)


def test_grow_quad_of_a_point_stays_finite() -> None:
    assert np.isfinite(geometry.grow_quad(np.ones((4, 2)), 2, 3)).all()


@given(rectangles)
def test_turning_twice_is_nothing(quad: np.ndarray) -> None:
    turned = geometry.turn_quad(quad)
    np.testing.assert_array_equal(turned[0], quad[2])
    np.testing.assert_array_equal(geometry.turn_quad(turned), quad)
    assert area(turned) == pytest.approx(area(quad), rel=1e-4)


@given(rectangles)
def test_upright_quads_stay_as_they_are(quad: np.ndarray) -> None:
    once = geometry.upright(quad)
    assert same_corners(once, quad)
    assert not geometry.is_vertical(once)
    np.testing.assert_array_equal(geometry.upright(once), once)


@given(points4, st.floats(0, 1), st.floats(0, 1))
def test_slices_cover_the_quad(quad: np.ndarray, start: float, end: float) -> None:
    np.testing.assert_allclose(geometry.slice_quad(quad, 0, 1), quad, atol=1e-3)
    middle = geometry.slice_quad(quad, start, end)
    before, after = geometry.slice_quad(quad, 0, start), geometry.slice_quad(quad, end, 1)
    np.testing.assert_array_equal(before[[1, 2]], middle[[0, 3]])
    np.testing.assert_array_equal(after[[0, 3]], middle[[1, 2]])
    # a slice of the turned quad is the same piece, counted from the other end
    turned = geometry.slice_quad(geometry.turn_quad(quad), 1 - end, 1 - start)
    np.testing.assert_allclose(geometry.turn_quad(turned), middle, atol=1e-2)


# --- outlines and polygons


def test_outline_goes_around_the_squares_of_the_pixels() -> None:
    labels = np.zeros((10, 20), np.int32)
    labels[2:5, 3:9] = 7
    labels[2:5, 9:12] = 8
    for box in (None, (3, 2, 9, 5)):
        found = geometry.outline(labels, 7, box)
        assert sorted(map(tuple, found.tolist())) == [(3, 2), (3, 5), (9, 2), (9, 5)]
        assert area(found) == 18
    np.testing.assert_array_equal(geometry.min_area_quad(geometry.outline(labels, 7)), [[3, 2], [9, 2], [9, 5], [3, 5]])


@pytest.mark.parametrize(("y", "x"), [(0, 0), (9, 19), (4, 7)])
def test_outline_of_one_pixel_is_its_square(y: int, x: int) -> None:
    mask = np.zeros((10, 20), bool)
    mask[y, x] = True
    found = geometry.outline(mask, 1)
    assert sorted(map(tuple, found.tolist())) == [(x, y), (x, y + 1), (x + 1, y), (x + 1, y + 1)]
    assert area(found) == 1


def test_outline_of_nothing_is_empty() -> None:
    assert geometry.outline(np.zeros((4, 5), np.int32), 1).shape == (0, 2)


def test_outline_of_several_parts_is_the_largest_s() -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[1:3, 1:3] = 1
    mask[8:15, 8:18] = 1
    assert area(geometry.outline(mask, 1)) == 70


def test_outline_is_simplified_on_request() -> None:
    y, x = np.mgrid[:100, :100]
    disc = (x - 50) ** 2 + (y - 50) ** 2 < 40**2
    full, few = geometry.outline(disc, 1), geometry.outline(disc, 1, epsilon=2.0)
    assert len(few) < len(full) / 3
    assert area(few) == pytest.approx(math.pi * 40**2, rel=0.08)


@given(rectangles, st.floats(0.5, 30))
def test_offset_polygon_of_a_rectangle_is_a_larger_rectangle(quad: np.ndarray, distance: float) -> None:
    grown = geometry.offset_polygon(quad, distance)
    width, height = geometry.quad_size(quad)
    assert area(grown) == pytest.approx((width + 2 * distance) * (height + 2 * distance), rel=0.01)
    assert area(geometry.offset_polygon(quad[::-1], distance)) == pytest.approx(area(grown), rel=0.01)


def test_offset_polygon_inwards() -> None:
    quad = rectangle(50, 50, 40, 20)
    assert area(geometry.offset_polygon(quad, -5)) == pytest.approx(30 * 10, rel=0.01)
    assert geometry.offset_polygon(quad, -11).shape == (0, 2)
    # two rooms and a narrow door between them: the larger room stays
    rooms = np.array([[0, 0], [40, 0], [40, 18], [60, 18], [60, 0], [80, 0], [80, 40], [60, 40], [60, 22], [40, 22]])
    rooms = np.concatenate([rooms, [[40, 40], [0, 40]]])
    assert area(geometry.offset_polygon(rooms, -5)) == pytest.approx(30 * 30, rel=0.01)


@settings(max_examples=60)
@given(st.lists(st.tuples(coordinates, coordinates), max_size=6), st.floats(-30, 30))
def test_offset_polygon_never_raises(points: list[tuple[float, float]], distance: float) -> None:
    found = geometry.offset_polygon(np.array(points, np.float32).reshape(-1, 2), distance)
    assert found.ndim == 2
    assert found.shape[1] == 2
    assert area(found) >= 0 if len(found) else True


def test_offset_polygon_of_no_number_is_empty() -> None:
    assert geometry.offset_polygon(np.full((4, 2), np.nan), 1).shape == (0, 2)


# --- crops


def coordinate_picture(height: int = 200, width: int = 200) -> np.ndarray:
    """A picture whose blue is x and whose green is y."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.full_like(x, 7)], axis=2).astype(np.uint8)


def expected_coordinates(quad: np.ndarray, width: int, height: int) -> np.ndarray:
    """What a crop of :func:`coordinate_picture` holds, (height, width, 2), for a parallelogram."""
    u, v = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    a, b, _, d = quad.astype(np.float64)
    return a + u[..., None] * (b - a) + v[..., None] * (d - a) - 0.5


@settings(max_examples=80)
@given(rectangles)
def test_a_crop_maps_back_to_its_quad(quad: np.ndarray) -> None:
    crop = geometry.crop_quad(coordinate_picture(), quad)
    height, width = crop.shape[:2]
    assert (width, height) == pytest.approx(geometry.quad_size(quad), abs=1.001)
    assert crop.dtype == np.uint8
    assert crop.flags.c_contiguous
    expected = np.clip(expected_coordinates(quad, width, height), 0, 199)
    inside = (expected > 3).all(axis=2) & (expected < 196).all(axis=2)
    # half a pixel where a nearly whole rectangle was copied, and rounding
    assert np.abs(crop[..., :2] - expected)[inside].max(initial=0) <= 1.6


@pytest.mark.parametrize("turns", range(4))
def test_a_whole_rectangle_is_copied_in_four_directions(turns: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    quad = np.array([[10, 5], [40, 5], [40, 15], [10, 15]], np.float32)
    crop = geometry.crop_quad(picture, np.roll(quad, -turns, axis=0))
    np.testing.assert_array_equal(crop, np.rot90(picture[5:15, 10:40], turns))
    assert crop.base is None


def test_copy_and_warp_give_the_same_pixels() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    quad = np.array([[10, 5], [40, 5], [40, 15], [10, 15]], np.float64)
    # a trapezoid that is a rectangle but for a corner that is far enough off to be warped
    warped = geometry.crop_quad(picture, quad + np.array([[0, 0], [0, 0], [0.6, 0], [0, 0]]))
    copied = geometry.crop_quad(picture, quad)
    assert warped.shape == copied.shape
    assert np.abs(warped[:, :8].astype(int) - copied[:, :8]).mean() < 6


def test_upright_crop_is_the_picture_turned_counter_clockwise() -> None:
    picture = coordinate_picture()
    column = geometry.order_quad(rectangle(60, 100, 20, 120))
    crop = geometry.crop_quad(picture, geometry.upright(column))
    np.testing.assert_array_equal(crop, np.rot90(picture[40:160, 50:70]))
    # the first quarter of the crop is the upper quarter of the column
    part = geometry.slice_quad(geometry.upright(column), 0, 0.25)
    assert part[:, 1].min() == 40
    assert part[:, 1].max() == 70


@pytest.mark.parametrize("degrees", [0, 13])
@pytest.mark.parametrize(("x", "y"), [(0, 100), (199, 100), (100, 0), (100, 199), (-90, -90), (400, 90)])
def test_beyond_the_picture_its_border_repeats(x: float, y: float, degrees: float) -> None:
    quad = rectangle(x, y, 60, 20, degrees)
    crop = geometry.crop_quad(coordinate_picture(), quad)
    assert crop.shape == (20, 60, 3)
    expected = np.clip(expected_coordinates(quad, 60, 20), 0, 199)
    assert np.abs(crop[..., :2] - expected).max() <= 2.5


def test_a_crop_does_not_depend_on_what_is_far_away() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    quad = rectangle(150, 150, 60, 20, 17)
    alone = geometry.crop_quad(np.ascontiguousarray(picture[100:200, 100:200]), quad - 100)
    np.testing.assert_array_equal(geometry.crop_quad(picture, quad), alone)


def test_long_crops_are_scaled_down() -> None:
    picture = np.zeros((10, 40000, 3), np.uint8)
    picture[:, 20000:] = 200
    whole = np.array([[0, 0], [40000, 0], [40000, 10], [0, 10]], np.float32)
    crop = geometry.crop_quad(picture, whole)
    assert crop.shape == (8, 32766, 3)
    assert crop[4, 16000].max() == 0
    assert crop[4, 16800].min() == 200
    assert geometry.crop_quad(picture, whole, max_side=400).shape == (1, 400, 3)
    assert geometry.crop_quad(picture[:, :3000], rectangle(1500, 5, 2000, 8, 0.2), max_side=500).shape == (2, 500, 3)


@pytest.mark.parametrize(
    "quad",
    [
        np.ones((4, 2)),
        [[1, 1], [9, 1], [9, 1], [1, 1]],
        [[1, 1], [5, 5], [9, 9], [3, 3]],
        [[1, 1], [9, 9], [9, 1], [1, 9]],
    ],
)
def test_degenerate_quads_give_some_crop(quad: list[list[float]]) -> None:
    crop = geometry.crop_quad(coordinate_picture(20, 20), np.array(quad))
    assert crop.ndim == 3
    assert min(crop.shape) >= 1


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 1), (2, 30), (30, 2, 3)])
def test_crops_of_tiny_and_grey_pictures(shape: tuple[int, ...]) -> None:
    picture = np.full(shape, 90, np.uint8)
    for degrees in (0, 30):
        crop = geometry.crop_quad(picture, rectangle(shape[1] / 2, shape[0] / 2, 12, 4, degrees))
        assert crop.shape == (4, 12, *shape[2:])
        assert (crop == 90).all()


@pytest.mark.parametrize(
    ("shape", "quad"),
    [((5, 5, 3), np.full((4, 2), np.nan)), ((5, 5, 3), np.ones((3, 2))), ((0, 5, 3), np.ones((4, 2)))],
)
def test_crops_refuse_what_is_no_quad_or_no_picture(shape: tuple[int, ...], quad: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"quad|picture"):
        geometry.crop_quad(np.zeros(shape, np.uint8), quad)


# --- reading order


def box(x: float, y: float, width: float, height: float = 20) -> np.ndarray:
    """An upright line by its top left."""
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], np.float64)


def column(x: float, y: float, widths: list[float], pitch: float = 30) -> list[np.ndarray]:
    """Lines below each other."""
    return [box(x, y + i * pitch, width) for i, width in enumerate(widths)]


def vertical(x: float, y: float, length: float) -> np.ndarray:
    """A line that runs downwards, as :func:`geometry.upright` gives it."""
    return geometry.upright(geometry.order_quad(box(x, y, 20, length))).astype(np.float64)


TEXT = [400, 395, 405, 398, 400, 180]
ITEMS = [150, 90, 210, 120, 170, 60, 110, 80]

# Lines in the order in which they should be read.
PAGES = {
    "one line": [box(0, 0, 100)],
    "one column": column(50, 40, TEXT),
    "a list with two levels": [box(50, 40, 200), box(90, 70, 150), box(90, 100, 130), box(50, 130, 240)],
    "words of a line": [box(0, 0, 50), box(60, 2, 80), box(150, -2, 40), box(0, 30, 100), box(110, 31, 30)],
    "two columns on the same baselines": column(50, 40, TEXT) + column(500, 40, TEXT[::-1]),
    "two columns on their own baselines": column(50, 40, TEXT) + column(500, 51, TEXT),
    "two columns of unequal length": column(50, 40, TEXT * 2) + column(500, 40, TEXT),
    "three columns": column(0, 0, [240] * 7) + column(270, 0, [235] * 7) + column(540, 0, [238] * 5),
    "a title above two columns, a footer below": [
        box(250, 0, 450),
        *column(50, 60, TEXT),
        *column(500, 60, TEXT),
        box(440, 300, 60),
    ],
    "two sections of two columns": [
        box(50, 0, 800),
        *column(50, 60, TEXT),
        *column(500, 60, TEXT),
        box(50, 300, 820),
        *column(50, 360, TEXT),
        *column(500, 360, TEXT),
    ],
    "a receipt: items and prices are rows": [
        box(150, 0, 200),
        box(120, 30, 260),
        *itertools.chain(*zip(column(0, 80, ITEMS), column(440, 80, [60, 50, 60, 60, 50, 60, 60, 60]), strict=True)),
        box(100, 340, 300),
    ],
    "a receipt with amount, item and price": [
        *itertools.chain(
            *zip(column(0, 0, [20] * 8), column(60, 0, ITEMS), column(440, 1, [60] * 8), strict=True),
        ),
    ],
    "a receipt with long items": [
        *itertools.chain(*zip(column(0, 0, [300] * 8), column(440, 0, [70] * 8), strict=True)),
    ],
    "a form: labels and values are rows": [
        *itertools.chain(*zip(column(0, 0, [60, 90, 70, 80, 50]), column(150, 0, [250, 100, 60, 180, 90]), strict=True))
    ],
    "a value missing here and there": [
        box(0, 0, 200),
        box(0, 30, 200),
        box(440, 30, 60),
        box(0, 60, 200),
        box(0, 90, 200),
        box(440, 90, 60),
    ],
    "a logo beside an address": [box(0, 0, 120, 90), *column(150, 3, [200, 180, 190])],
    "columns of Chinese, from the right": [vertical(400 - 30 * i, 0, length) for i, length in enumerate([300] * 5)],
    "columns of Chinese on two floors": [vertical(400 - 30 * i, 0, 300) for i in range(5)]
    + [vertical(400 - 30 * i, 400, 300) for i in range(5)],
    "a headline above columns of Chinese": [box(100, 0, 200, 40), *(vertical(300 - 30 * i, 60, 300) for i in range(6))],
    "a couplet at both sides of a picture": [vertical(600, 0, 300), vertical(20, 0, 300)],
    "columns of Chinese within a page": [
        *column(0, 0, TEXT),
        *(vertical(300 - 30 * i, 250, 120) for i in range(4)),
        *column(0, 420, TEXT),
    ],
}


def check_order(quads: list[np.ndarray]) -> None:
    """The quads are read in the order given, however they are shuffled."""
    for seed in range(3):
        shuffled = np.random.default_rng(seed).permutation(len(quads))
        order = geometry.reading_order([quads[i] for i in shuffled])
        assert [int(shuffled[i]) for i in order] == list(range(len(quads)))


@pytest.mark.parametrize("quads", PAGES.values(), ids=PAGES.keys())
def test_reading_order(quads: list[np.ndarray]) -> None:
    check_order(quads)


@pytest.mark.parametrize("degrees", [-30, -7, 3, 12, 45, 90, 135, 180, 187, 270])
@pytest.mark.parametrize("quads", PAGES.values(), ids=PAGES.keys())
def test_reading_order_turns_with_the_page(quads: list[np.ndarray], degrees: float) -> None:
    check_order([rotate(quad, degrees) + 1000 for quad in quads])


@pytest.mark.parametrize("quads", PAGES.values(), ids=PAGES.keys())
def test_reading_order_bears_noise(quads: list[np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        check_order([quad + rng.uniform(-1.5, 1.5, (4, 2)) for quad in quads])


def test_reading_order_bears_lines_that_are_taken_for_upside_down() -> None:
    lines = column(0, 0, [300, 60, 280, 290, 50, 300])
    lines[1], lines[4] = geometry.turn_quad(lines[1]), geometry.turn_quad(lines[4])
    check_order(lines)


def test_reading_order_of_a_page_in_perspective() -> None:
    lines = [rectangle(400, 40 * i, 700, 20, -5 + i) for i in range(11)]
    check_order(lines)


@settings(max_examples=50)
@given(st.lists(rectangles, max_size=12), st.randoms(use_true_random=False))
def test_reading_order_does_not_depend_on_the_input_s_order(quads: list[np.ndarray], random: object) -> None:
    assume(len({quad.tobytes() for quad in quads}) == len(quads))
    order = geometry.reading_order(quads)
    assert sorted(order) == list(range(len(quads)))
    shuffled = list(range(len(quads)))
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again = geometry.reading_order([quads[i] for i in shuffled])
    assert [shuffled[i] for i in again] == order


def test_reading_order_of_nothing_and_of_points() -> None:
    assert geometry.reading_order([]) == []
    assert sorted(geometry.reading_order([np.zeros((4, 2))] * 3)) == [0, 1, 2]


def test_quads_inside_larger_ones_are_told() -> None:
    def box(x: float, y: float, w: float, h: float) -> np.ndarray:
        return np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], np.float32)

    line, within, half_out, beside = box(0, 0, 100, 20), box(10, 5, 10, 10), box(95, 5, 10, 10), box(100, 0, 50, 20)
    assert geometry.inside_others([line, within, half_out, beside], 0.6) == [False, True, False, False]
    assert geometry.inside_others([beside, half_out, within, line], 0.5) == [False, True, True, False]
    # of two that are the same neither is larger
    assert geometry.inside_others([line, line], 0.6) == [False, False]
    assert geometry.inside_others([line], 0.6) == [False]
    assert geometry.inside_others([], 0.6) == []
    # crossed sides are no error
    assert geometry.inside_others([line, within[[0, 2, 1, 3]]], 0.6) == [False, True]
