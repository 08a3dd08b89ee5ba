"""Which of several views counts."""

from hanas_core.members.verdicts import Verdict
from hanas_operator import news
from hanas_operator.news import WORKERS, News
from tests.unit.operator.making import alert, view

BLIND = (alert(Verdict.FOLDER_UNAVAILABLE, member="overseer"),)


def test_the_highest_epoch_counts_whoever_says_it() -> None:
    told = News()
    told.take("a", view("worker-0", epoch=3), 0.0)
    told.take("b", view("worker-1", epoch=4), 1.0)
    told.take("a", view("worker-0", epoch=3), 2.0)
    assert told.newest(2.0) == view("worker-1", epoch=4)


def test_of_one_epoch_an_overseer_that_sees_counts_then_one_that_knows_a_main_then_the_last_one() -> None:
    told = News()
    told.take(WORKERS, view("worker-1"), 0.0)
    told.take("blind", view(alerts=BLIND), 0.0)
    assert told.newest(0.0) == view("worker-1")
    told.take("a", view(state="elect"), 0.0)
    assert told.newest(0.0) == view(state="elect")
    told.take("b", view(), 0.0)
    told.take("c", view(members=2), 0.0)
    assert told.newest(0.0) == view(), "no change without a reason"


def test_an_older_epoch_counts_only_when_nobody_says_a_newer_one_for_long() -> None:
    told = News()
    told.take("a", view(epoch=5), 0.0)
    told.take("b", view("worker-1", epoch=4), 0.0)
    told.drop("a", 1.0)
    told.confirm("b", 2.0)
    assert told.newest(2.0) == view(epoch=5)
    late = news.BELIEVED_SECONDS + 1.0
    assert told.newest(late) is None
    told.confirm("b", late)
    assert told.newest(late) == view("worker-1", epoch=4)


def test_a_source_that_goes_leaves_its_view_to_the_next_of_that_epoch() -> None:
    told = News()
    told.take("a", view(), 0.0)
    told.drop("a", 0.0)
    told.drop("a", 0.0)
    assert told.newest(1.0) == view()
    told.take("a", view(), 1.0)
    told.take("b", view(members=2), 1.0)
    told.drop("a", 1.0)
    assert told.newest(1.0) == view(members=2)
