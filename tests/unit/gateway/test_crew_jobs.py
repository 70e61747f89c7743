"""Who is on a crew with whom, as a gateway's table of jobs was told last."""

from typing import Any

from gateway_ws.jobs import Jobs


def booking(version: int, *, crew: list[tuple[str, str | None]] | None = None) -> dict[str, Any]:
    told: dict[str, Any] = {
        "booking_id": "first",
        "version": version,
        "state": "assigned",
        "pin": {"lat": 41.15, "lng": -8.61},
        "customer": {"person_id": "rita"},
    }
    if crew is not None:
        seats = [
            {"booking_id": each, "worker": None if worker is None else {"worker_id": worker}} for each, worker in crew
        ]
        told["crew"] = {"seats": seats}
    return told


def test_an_alarm_of_a_mate_concerns_whoever_is_on_the_crew() -> None:
    jobs = Jobs()
    jobs.update(7, booking(3, crew=[("first", "mia"), ("second", None)]))
    assert list(jobs.slots_of_mate("nuno")) == []
    jobs.update(7, booking(3, crew=[("first", "mia"), ("second", "nuno")]))
    assert list(jobs.slots_of_mate("nuno")) == [7], "the seat's own version has not moved"
    assert list(jobs.slots_of_mate("mia")) == [], "nobody is their own mate"
    jobs.update(7, booking(3, crew=[("first", "mia"), ("second", None)]))
    assert list(jobs.slots_of_mate("nuno")) == []


def test_a_job_of_one_has_no_mates() -> None:
    jobs = Jobs()
    jobs.update(7, booking(3))
    assert list(jobs.slots_of_mate("rita")) == []
    assert list(jobs.slots_of_customer("rita")) == [7]
