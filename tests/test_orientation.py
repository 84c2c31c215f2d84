"""How the lines of a page decide together which way up they stand."""

import pytest

from liteocr.orientation import Angle, line_angles, page_angle

SURE, LIKELY = 0.9999, 0.8


def test_a_line_that_is_sure_keeps_its_own_way() -> None:
    angles = [Angle(0, SURE)] * 9 + [Angle(180, SURE)]
    assert line_angles(angles, [10.0] * 10) == [0] * 9 + [180]


def test_a_line_in_doubt_follows_the_page() -> None:
    assert line_angles([Angle(180, SURE)] * 5 + [Angle(0, LIKELY)], [10.0] * 6) == [180] * 6
    assert line_angles([Angle(0, SURE)] * 5 + [Angle(180, 0.99)], [10.0] * 6) == [0] * 6


def test_a_line_alone_is_turned_from_ninety_percent_on() -> None:
    assert line_angles([Angle(180, 0.89)], [10.0]) == [0]
    assert line_angles([Angle(180, 0.91)], [10.0]) == [180]


def test_sure_and_long_lines_weigh_more_in_the_page() -> None:
    # six short lines in doubt against one long line that is sure
    assert page_angle([Angle(0, 0.6)] * 6 + [Angle(180, SURE)], [1.0] * 6 + [16.0]) == 180
    assert page_angle([Angle(0, 0.6)] * 6 + [Angle(180, 0.7)], [1.0] * 7) == 0


@pytest.mark.parametrize("angles", [[], [Angle(0, 0.9), Angle(180, 0.9)]])
def test_a_tie_is_upright(angles: list[Angle]) -> None:
    assert page_angle(angles, [3.0] * len(angles)) == 0
    assert line_angles(angles, [3.0] * len(angles)) == [0] * len(angles)
