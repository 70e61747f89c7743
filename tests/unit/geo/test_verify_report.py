"""What `clenzy geo verify` says of a report."""

from engine.geo.verify import VerifyReport
from engine.run_geo_verify import describe


def test_a_right_index_is_called_right() -> None:
    assert describe(VerifyReport(slots=2, off_duty=1, cells=2)).splitlines() == [
        "looked at 2 workers with a place, 1 without one, and 2 cells",
        "every worker is in exactly the right cell",
    ]


def test_every_fault_is_counted_and_its_first_slots_are_named() -> None:
    report = VerifyReport(slots=20, wrong_cell=list(range(11)), not_in_cell=[4], in_several=[5, 6])
    lines = describe(report).splitlines()[1:]
    assert [line.split(" workers ")[0] for line in lines] == ["WRONG: 11", "WRONG: 1", "WRONG: 2"]
    assert lines[0].endswith("slots 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...")
    assert lines[2].endswith("slots 5, 6")
