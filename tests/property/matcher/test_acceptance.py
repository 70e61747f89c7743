"""The likelihood of a yes: shrunk, within bounds, and never fed by a no to a flagged job."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.ids import PersonId
from engine.matcher.acceptance import Answers, acceptance_gaps

ORG = UUID(int=1)


def answers(flagged: st.SearchStrategy[bool], said_yes: st.SearchStrategy[bool]):
    return st.lists(
        st.builds(
            Answers,
            org_id=st.sampled_from([ORG, UUID(int=2)]),
            worker_id=st.integers(1, 6).map(lambda each: PersonId(UUID(int=each))),
            said_yes=said_yes,
            is_flagged=flagged,
            count=st.integers(1, 1_000),
        ),
        max_size=20,
    )


@given(answers(st.booleans(), st.booleans()), answers(st.just(True), st.just(False)))
def test_a_no_to_a_flagged_job_changes_nothing_for_anybody(given_before, flagged_noes):
    assert acceptance_gaps([*given_before, *flagged_noes]) == acceptance_gaps(given_before)


@given(answers(st.booleans(), st.booleans()))
def test_a_gap_is_a_share_and_somebody_has_none(given_answers):
    gaps = acceptance_gaps(given_answers)
    assert all(0 <= gap <= 1 for gap in gaps.values())
    assert not gaps or min(gaps.values()) == pytest.approx(0, abs=1e-9)


def test_a_few_noes_weigh_less_than_many():
    def worker(number: int, yes: int, no: int) -> list[Answers]:
        who = PersonId(UUID(int=number))
        return [Answers(ORG, who, said, False, count) for said, count in ((True, yes), (False, no)) if count]

    gaps = acceptance_gaps([*worker(1, 400, 100), *worker(2, 0, 3), *worker(3, 0, 300)])
    few, many = gaps[PersonId(UUID(int=2))], gaps[PersonId(UUID(int=3))]
    assert 0 < few < many
    assert gaps[PersonId(UUID(int=1))] == 0
