"""Dead main, dead link or dead folder: the table of verdicts, told as what a backup lives through."""

import itertools
import math

import msgspec
import pytest

from hanas_core.members.detector import Conclude, Detector, StartProbe
from hanas_core.members.owntime import OwnTime
from hanas_core.members.timing import CLOUD, LAN, PRESETS, Timing
from hanas_core.members.verdicts import Verdict

MAIN = "a" * 32
OTHER = "b" * 32
EPOCH = 5
STEP = 1 / 16
TIMING = msgspec.structs.replace(LAN, keepalive_interval=2 * STEP, probe_timeout=0.25, probe_interval=0.25)
"""Sums of these are exact, so that the stories happen at their moments."""


class Backup:
    """A backup whose time passes in steps, with a detector that is ticked in each."""

    def __init__(self, *, unserved: int = 0, timing: Timing = TIMING) -> None:
        self.timing = timing
        self.now = 100.0
        self.own_time = OwnTime(timing.keepalive_interval)
        self.own_time.turn(self.now)
        self.detector = Detector(timing)
        self.detector.follow(self.now, EPOCH, MAIN, unserved)
        self.effects: list[StartProbe | Conclude] = []
        self.probes = 0

    @property
    def own(self) -> float:
        return self.own_time.at(self.now)

    def verdict(self) -> Verdict:
        return self.detector.verdict

    def conclusion(self) -> Conclude | None:
        return next((effect for effect in self.effects if isinstance(effect, Conclude)), None)

    def nonce(self) -> str:
        assert self.detector.probe is not None
        return self.detector.probe.nonce

    def hear(
        self,
        *,
        stalled: float = 0.0,
        full: bool = False,
        epoch: int = EPOCH,
        who: str = MAIN,
        paused: float = 0.0,
    ) -> None:
        self.detector.heard(self.own, epoch, who, stalled_for=stalled, full=full, paused=paused)

    def closed(self, epoch: int = EPOCH) -> None:
        self.detector.closed(self.own, epoch)

    def tick(self) -> StartProbe | Conclude | None:
        self.probes += 1
        self.own_time.turn(self.now)
        effect = self.detector.tick(self.own, f"nonce{self.probes}", self.own_time.lost)
        if effect is not None:
            self.effects.append(effect)
        return effect

    def wait(self, seconds: float, *, hears: bool = False, stalled: float = 0.0) -> None:
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now += STEP
            if hears:
                self.hear(stalled=stalled)
            self.tick()

    def suspect(self) -> None:
        """Let keep-alives be missing until the probe is out."""
        while self.detector.probe is None:
            self.wait(STEP)

    def canary(self, *, ok: bool = True, took: float = 0.0) -> None:
        self.detector.canary(self.own, self.nonce(), ok=ok, took=took)

    def look(self, nonce: str | None = None, *, epoch: int = EPOCH, who: str = MAIN, full: bool = False) -> None:
        """Look at the answers; without a nonce there is none."""
        answer = None if nonce is None else (nonce, epoch, who, full)
        self.detector.looked(self.own, self.own, answer)


def test_keep_alives_arrive_healthy() -> None:
    backup = Backup()
    assert backup.verdict() is Verdict.UNKNOWN
    backup.wait(5, hears=True)
    assert backup.verdict() is Verdict.HEALTHY
    assert backup.effects == []


def test_missing_keep_alives_start_one_probe_after_suspect_after() -> None:
    backup = Backup()
    backup.wait(1, hears=True)
    silent_since = backup.now
    backup.suspect()
    assert TIMING.suspect_after <= backup.now - silent_since <= TIMING.suspect_after + 2 * STEP
    assert backup.effects == [StartProbe(backup.nonce(), EPOCH)]
    assert backup.verdict() is Verdict.HEALTHY, "a suspicion is no verdict"


def test_the_right_answer_means_that_the_link_failed_and_the_main_is_probed_again() -> None:
    backup = Backup()
    backup.suspect()
    backup.canary()
    backup.look(backup.nonce())
    assert backup.verdict() is Verdict.LINK_FAILED
    assert backup.detector.probe is None
    backup.wait(TIMING.probe_interval - STEP)
    assert len(backup.effects) == 1
    backup.suspect()
    assert len(backup.effects) == 2
    backup.look(backup.nonce())
    backup.wait(STEP)
    assert backup.conclusion() is None


def test_a_link_that_comes_back_is_healthy_again_and_its_probe_is_forgotten() -> None:
    backup = Backup()
    backup.suspect()
    backup.look(backup.nonce())
    since = backup.detector.verdict_since
    backup.suspect()
    backup.hear()
    assert backup.verdict() is Verdict.HEALTHY
    assert backup.detector.probe is None
    assert backup.detector.verdict_since > since
    backup.wait(1, hears=True)
    assert backup.verdict() is Verdict.HEALTHY


def test_a_folder_that_hung_for_all_gives_the_main_its_time_to_answer_when_it_is_back() -> None:
    backup = Backup()
    backup.wait(1, hears=True)
    backup.suspect()
    backup.wait(TIMING.probe_timeout + STEP)
    backup.canary()  # only now the folder answers, here and at the main
    back = backup.now
    while backup.now < back + TIMING.probe_timeout - STEP:
        backup.wait(STEP)
        backup.look()
    assert backup.conclusion() is None
    backup.look(backup.nonce())
    assert backup.verdict() is Verdict.LINK_FAILED


def test_a_closed_connection_starts_the_probe_at_once_and_the_takeover_needs_no_longer_silence_than_before() -> None:
    backup = Backup()
    backup.wait(1, hears=True)
    heard = backup.now
    backup.closed()
    assert backup.tick() == StartProbe(backup.nonce(), EPOCH)
    backup.hear()  # the last keep-alive, on its way when the main died
    backup.canary()
    while (conclusion := backup.conclusion()) is None:
        backup.wait(STEP)
        backup.look()
    assert backup.now - heard <= max(TIMING.suspect_after, TIMING.probe_timeout) + 2 * STEP
    assert conclusion.verdict is Verdict.PRIMARY_FAILED
    assert conclusion.evidence.keepalive_age is not None
    assert conclusion.evidence.keepalive_age >= TIMING.suspect_after
    assert conclusion.evidence.closed_age == backup.now - heard
    assert ", its connection closed 0.31" in conclusion.evidence.words


def test_a_connection_that_closed_for_nothing_is_forgotten_with_the_answer() -> None:
    backup = Backup()
    backup.wait(1, hears=True)
    backup.closed()
    backup.wait(STEP, hears=True)
    backup.canary()
    backup.look(backup.nonce())
    backup.wait(1, hears=True)
    assert backup.verdict() is Verdict.HEALTHY
    assert len(backup.effects) == 1


def test_while_keep_alives_arrive_a_closed_connection_and_no_answer_is_no_verdict() -> None:
    backup = Backup()
    backup.wait(1, hears=True)
    backup.closed()
    backup.wait(STEP, hears=True)
    backup.canary()
    for _ in range(40):
        backup.wait(STEP, hears=True)
        backup.look()
    assert backup.conclusion() is None
    assert backup.verdict() is Verdict.HEALTHY
    assert backup.detector.probe is None, "it has been given up"


def test_a_closed_connection_to_an_earlier_main_is_of_no_interest() -> None:
    backup = Backup()
    backup.wait(1, hears=True)
    backup.closed(EPOCH - 1)
    assert backup.tick() is None


def test_no_answer_within_the_time_out_and_a_kept_canary_the_main_failed() -> None:
    backup = Backup()
    backup.wait(1, hears=True)
    backup.suspect()
    nonce = backup.nonce()
    backup.now += 0.01
    backup.canary(took=0.01)
    backup.wait(TIMING.probe_timeout + STEP)
    assert backup.conclusion() is None, "no look began after the time-out"
    backup.look()
    conclusion = backup.tick()
    assert isinstance(conclusion, Conclude)
    assert (conclusion.epoch, conclusion.verdict) == (EPOCH, Verdict.PRIMARY_FAILED)
    evidence = conclusion.evidence
    assert evidence.probe == nonce
    assert evidence.keepalive_age is not None
    assert evidence.keepalive_age >= TIMING.suspect_after + TIMING.probe_timeout
    assert evidence.probe_age is not None
    assert evidence.probe_age >= TIMING.probe_timeout
    assert evidence.canary_took == pytest.approx(0.01)
    assert evidence.looked_age == 0
    assert evidence.keepalives_heard == 16
    assert "the main failed" in evidence.words
    backup.wait(5)
    assert len(backup.effects) == 2, "it concludes once"


def test_a_main_never_heard_of_can_fail_too() -> None:
    backup = Backup()
    backup.suspect()
    backup.canary()
    backup.wait(TIMING.probe_timeout)
    backup.look()
    backup.tick()
    conclusion = backup.conclusion()
    assert conclusion is not None
    assert conclusion.evidence.keepalive_age is None


def test_a_look_that_began_before_the_time_out_proves_nothing() -> None:
    backup = Backup()
    backup.suspect()
    backup.canary()
    began = backup.now
    backup.wait(TIMING.probe_timeout)
    backup.detector.looked(backup.own, began, None)
    assert backup.tick() is None


@pytest.mark.parametrize(
    ("nonce", "epoch", "who"),
    [("another", EPOCH, MAIN), (None, EPOCH, OTHER), (None, EPOCH - 1, MAIN), (None, EPOCH + 1, MAIN)],
)
def test_an_answer_for_another_nonce_epoch_or_incarnation_is_none(nonce: str | None, epoch: int, who: str) -> None:
    backup = Backup()
    backup.suspect()
    backup.canary()
    backup.wait(TIMING.probe_timeout)
    backup.look(nonce or backup.nonce(), epoch=epoch, who=who)
    backup.tick()
    assert backup.conclusion() is not None


def test_an_answer_in_the_last_moment_counts() -> None:
    backup = Backup()
    backup.suspect()
    backup.canary()
    backup.wait(TIMING.probe_timeout)
    backup.look()
    backup.look(backup.nonce())
    backup.tick()
    assert backup.verdict() is Verdict.LINK_FAILED
    assert backup.conclusion() is None


def test_a_keep_alive_in_the_last_moment_counts() -> None:
    backup = Backup()
    backup.suspect()
    backup.canary()
    backup.wait(TIMING.probe_timeout)
    backup.look()
    backup.hear()
    backup.tick()
    assert backup.verdict() is Verdict.HEALTHY
    assert backup.conclusion() is None


def test_keep_alives_arrive_but_a_commit_hangs_and_no_answer_comes_the_main_is_wedged() -> None:
    backup = Backup()
    backup.wait(1, hears=True)
    backup.wait(TIMING.stall_limit, hears=True, stalled=TIMING.stall_limit)
    assert backup.effects == [], "not longer than the limit"
    backup.hear(stalled=TIMING.stall_limit + 0.1)
    backup.tick()
    backup.canary()
    backup.wait(TIMING.probe_timeout, hears=True, stalled=TIMING.stall_limit + 0.3)
    assert backup.conclusion() is None
    backup.look()
    backup.tick()
    conclusion = backup.conclusion()
    assert conclusion is not None
    assert conclusion.verdict is Verdict.PRIMARY_WEDGED
    assert conclusion.evidence.stalled_for == pytest.approx(TIMING.stall_limit + 0.3)
    assert "wedged" in conclusion.evidence.words


LONG_HUNG = TIMING.suspect_after + TIMING.probe_timeout
"""A main says nothing for as long before it is replaced."""


def say_hung(backup: Backup, hung: float) -> None:
    backup.now += STEP
    backup.detector.heard(backup.now, EPOCH, MAIN, stalled_for=hung, hung_for=hung)
    backup.tick()


def hang(backup: Backup, *, canary: bool | None = True) -> None:
    """Have the main say that nothing comes back from its folder, until that has lasted for `LONG_HUNG`."""
    backup.wait(1, hears=True)
    since = backup.now
    while backup.now - since <= LONG_HUNG:
        say_hung(backup, backup.now - since)
        if canary is not None and backup.detector.probe is not None:
            backup.canary(ok=canary)
        backup.look()


def test_a_main_whose_folder_hangs_is_replaced_as_soon_as_one_that_says_nothing() -> None:
    backup = Backup()
    began = backup.now + 1
    hang(backup)
    assert backup.conclusion() is None, "not longer than the limit"
    while (conclusion := backup.conclusion()) is None:
        say_hung(backup, backup.now - began)
        backup.look()
    assert conclusion.verdict is Verdict.PRIMARY_WEDGED
    assert conclusion.evidence.hung_for > LONG_HUNG
    assert "nothing has come back from the main's folder for 0.6" in conclusion.evidence.words
    assert backup.now - began <= LONG_HUNG + 4 * STEP < TIMING.stall_limit


def test_a_main_whose_mount_comes_back_later_than_ones_own_has_longer_to_answer() -> None:
    backup = Backup()
    began = backup.now + 1
    hang(backup, canary=None)
    while backup.verdict() is not Verdict.FOLDER_UNAVAILABLE:
        say_hung(backup, backup.now - began)
    while backup.detector.probe is None:
        say_hung(backup, backup.now - began)
    backup.canary()
    back = backup.now
    while (conclusion := backup.conclusion()) is None:
        backup.look()
        say_hung(backup, backup.now - began)
    assert conclusion.verdict is Verdict.PRIMARY_WEDGED
    assert conclusion.evidence.probe_timeout == TIMING.probe_timeout + TIMING.stall_limit
    assert backup.now - back == pytest.approx(TIMING.probe_timeout + TIMING.stall_limit, abs=2 * STEP)


@pytest.mark.parametrize("canary", [None, False])
def test_a_folder_that_hangs_for_all_is_no_fault_of_the_main(canary: bool | None) -> None:
    backup = Backup()
    hang(backup, canary=canary)
    for _ in range(40):
        say_hung(backup, 9.0)
        if canary is False and backup.detector.probe is not None:
            backup.canary(ok=False)
        backup.look()
    assert backup.conclusion() is None
    assert backup.verdict() is Verdict.FOLDER_UNAVAILABLE


def test_a_main_whose_folder_comes_back_is_healthy() -> None:
    backup = Backup()
    hang(backup)
    backup.hear()
    backup.tick()
    assert (backup.verdict(), backup.detector.probe) == (Verdict.HEALTHY, None)


def test_a_main_that_gave_up_needs_no_probe_time_but_the_whole_silence_and_a_canary() -> None:
    backup = Backup()
    backup.wait(1, hears=True)
    backup.detector.gave_up(EPOCH)
    heard = backup.now
    while not backup.effects:
        backup.wait(STEP)
    assert backup.now - heard >= TIMING.suspect_after
    backup.wait(STEP)
    assert backup.conclusion() is None, "whether the folder works here is not known yet"
    backup.canary()
    backup.wait(STEP)
    conclusion = backup.conclusion()
    assert conclusion is not None
    assert conclusion.verdict is Verdict.PRIMARY_FAILED
    assert "the main itself has sealed its epoch" in conclusion.evidence.words
    assert backup.now - heard < TIMING.suspect_after + TIMING.probe_timeout


def test_a_main_that_gave_up_earlier_is_of_no_interest() -> None:
    backup = Backup()
    backup.detector.gave_up(EPOCH - 1)
    backup.suspect()
    backup.canary()
    backup.wait(STEP)
    assert backup.conclusion() is None
    backup.detector.gave_up(EPOCH)
    backup.detector.follow(backup.now, EPOCH + 1, MAIN, 0)
    backup.suspect()
    backup.canary()
    backup.wait(STEP)
    assert backup.conclusion() is None


def test_a_main_that_gave_up_is_not_replaced_while_it_is_only_suspected_to_have_died() -> None:
    backup = Backup()
    backup.wait(1, hears=True)
    backup.detector.gave_up(EPOCH)
    backup.closed()
    backup.tick()
    backup.canary()
    backup.wait(STEP)
    assert backup.conclusion() is None, "its silence has not lasted for one patience"


def test_a_slow_commit_that_is_proven_to_work_is_healthy() -> None:
    backup = Backup()
    backup.hear(stalled=TIMING.stall_limit + 1)
    backup.tick()
    backup.canary()
    backup.look(backup.nonce())
    assert backup.verdict() is Verdict.HEALTHY
    backup.hear(stalled=TIMING.stall_limit + 1)
    assert backup.tick() is None, "and probed again after a while only"
    backup.wait(TIMING.probe_interval, hears=True, stalled=TIMING.stall_limit + 1)
    assert backup.detector.probe is not None
    backup.hear()
    backup.tick()
    assert backup.detector.probe is None


def test_no_space_is_no_reason_for_a_takeover() -> None:
    backup = Backup()
    backup.suspect()
    backup.canary()
    backup.wait(TIMING.probe_timeout)
    backup.look(backup.nonce(), full=True)
    backup.tick()
    assert backup.verdict() is Verdict.FOLDER_FULL
    assert backup.conclusion() is None
    backup.hear(full=True)
    assert backup.verdict() is Verdict.FOLDER_FULL
    backup.hear()
    assert backup.verdict() is Verdict.HEALTHY


@pytest.mark.parametrize("stalled", [0.0, 9.0])
def test_a_lost_canary_makes_the_folder_unavailable_and_never_a_takeover(stalled: float) -> None:
    backup = Backup()
    if stalled:
        backup.hear(stalled=stalled)
    backup.suspect()
    backup.canary(ok=False)
    backup.wait(TIMING.probe_timeout - STEP, hears=bool(stalled), stalled=stalled)
    backup.look()
    backup.wait(2 * STEP, hears=bool(stalled), stalled=stalled)
    assert backup.verdict() is Verdict.FOLDER_UNAVAILABLE
    for _ in range(5):
        backup.suspect()
        backup.canary(ok=False)
        backup.look()
        backup.wait(1, hears=bool(stalled), stalled=stalled)
    assert backup.conclusion() is None


def test_a_lost_canary_counts_more_than_an_answer() -> None:
    backup = Backup()
    backup.suspect()
    backup.canary(ok=False)
    backup.look(backup.nonce())
    assert backup.verdict() is Verdict.FOLDER_UNAVAILABLE


def test_a_canary_that_hangs_makes_the_folder_unavailable_after_some_grace() -> None:
    backup = Backup()
    backup.suspect()
    backup.wait(TIMING.probe_timeout)
    backup.look()
    backup.wait(TIMING.folder_grace - 2 * STEP)
    backup.look()
    assert backup.verdict() is Verdict.UNKNOWN
    backup.wait(4 * STEP)
    assert backup.verdict() is Verdict.FOLDER_UNAVAILABLE
    assert backup.conclusion() is None


def test_a_look_that_hangs_makes_the_folder_unavailable_after_some_grace() -> None:
    backup = Backup()
    backup.suspect()
    backup.canary()
    backup.wait(TIMING.probe_timeout + TIMING.folder_grace + STEP)
    assert backup.verdict() is Verdict.FOLDER_UNAVAILABLE
    assert backup.conclusion() is None


def test_once_the_folder_is_back_a_dead_main_is_found_dead() -> None:
    backup = Backup()
    backup.suspect()
    backup.wait(TIMING.probe_timeout + TIMING.folder_grace + STEP)
    assert backup.verdict() is Verdict.FOLDER_UNAVAILABLE
    backup.suspect()
    backup.canary()
    backup.wait(TIMING.probe_timeout)
    backup.look()
    backup.tick()
    conclusion = backup.conclusion()
    assert conclusion is not None
    assert conclusion.evidence.probe_timeout == TIMING.probe_timeout, "one that says nothing gets no more time"


def test_the_canary_of_an_earlier_probe_says_nothing() -> None:
    backup = Backup()
    backup.suspect()
    backup.detector.canary(backup.own, "earlier", ok=True, took=0.0)
    backup.wait(TIMING.probe_timeout)
    backup.look()
    assert backup.tick() is None
    backup.hear()
    backup.detector.canary(backup.own, "earlier", ok=False, took=0.0)
    backup.detector.looked(backup.own, backup.own, None)
    assert backup.verdict() is Verdict.HEALTHY


@pytest.mark.parametrize(("epoch", "who"), [(EPOCH, OTHER), (EPOCH - 1, MAIN), (EPOCH + 1, MAIN)])
def test_keep_alives_of_others_are_not_heard(epoch: int, who: str) -> None:
    backup = Backup()
    while backup.detector.probe is None:
        backup.now += STEP
        backup.hear(epoch=epoch, who=who)
        backup.tick()
    assert backup.now - 100 < 1


def test_a_backup_that_always_oversleeps_takes_over_all_the_same() -> None:
    backup = Backup()
    backup.wait(1, hears=True)
    for _ in range(20):
        backup.now += 2 * TIMING.suspect_after
        backup.tick()
        if backup.detector.probe is not None:
            backup.canary()
            backup.look()
    conclusion = backup.conclusion()
    assert conclusion is not None
    assert conclusion.verdict is Verdict.PRIMARY_FAILED


def test_a_backup_that_always_oversleeps_and_hears_its_main_never_suspects_it() -> None:
    backup = Backup()
    for _ in range(20):
        backup.now += 2 * TIMING.suspect_after
        backup.tick()
        backup.hear()
    assert backup.effects == []


def test_after_a_pause_that_it_overslept_itself_suspicion_starts_anew() -> None:
    backup = Backup()
    backup.wait(1, hears=True)
    backup.suspect()
    backup.canary()
    backup.now += 60
    backup.look()
    assert backup.tick() is None
    assert backup.detector.probe is None
    slept_until = backup.now
    backup.suspect()
    assert backup.now - slept_until >= TIMING.suspect_after


def test_a_newer_epoch_ends_every_suspicion_about_the_older_one() -> None:
    backup = Backup()
    backup.suspect()
    backup.canary()
    backup.wait(TIMING.probe_timeout)
    backup.look()
    backup.detector.follow(backup.now, EPOCH + 1, OTHER, 1)
    assert backup.tick() is None
    assert backup.verdict() is Verdict.UNKNOWN
    assert backup.conclusion() is None
    backup.hear()
    assert backup.verdict() is Verdict.UNKNOWN
    backup.hear(epoch=EPOCH + 1, who=OTHER)
    assert backup.verdict() is Verdict.HEALTHY


def test_patience_doubles_with_each_epoch_that_did_not_serve_up_to_a_limit() -> None:
    patience = [Backup(unserved=n).detector.patience for n in range(17)]
    assert patience[:4] == [0.25, 0.5, 1.0, 2.0]
    assert patience[7:] == 10 * [TIMING.most_patience]
    assert Backup(unserved=17).detector.patience == 2 * TIMING.most_patience
    assert Backup(unserved=100_000).detector.patience == 40 * TIMING.most_patience
    slow = msgspec.structs.replace(TIMING, suspect_after=60.0)
    assert Backup(unserved=3, timing=slow).detector.patience == 60.0


@pytest.mark.parametrize("timing", [LAN, CLOUD])
def test_a_day_of_takeovers_that_cannot_succeed_gives_less_than_a_hundred_claims(timing: Timing) -> None:
    claims, seconds = 0, 0.0
    while seconds < 24 * 3600:
        claims += 1
        seconds += Backup(unserved=claims, timing=timing).detector.patience
    assert claims < 100


def refused(backup: Backup) -> float:
    """Let time pass until the next conclusion, which leads to nothing; return how long it took."""
    began = backup.now
    backup.effects.clear()
    while backup.conclusion() is None:
        backup.now += STEP
        if isinstance(effect := backup.tick(), StartProbe):
            backup.detector.canary(backup.own, effect.nonce, ok=True, took=0.0)
        backup.detector.looked(backup.own, backup.own, None)
    backup.detector.fruitless(backup.now)
    return backup.now - began


def test_a_conclusion_that_leads_to_nothing_is_drawn_again_ever_more_rarely() -> None:
    backup = Backup()
    assert [refused(backup) for _ in range(4)] == [0.5625, 0.5625, 0.8125, 1.3125]
    assert max(refused(backup) for _ in range(8)) == TIMING.most_patience + 0.3125
    backup.hear()
    assert refused(backup) == 0.5625, "the main was back"


def test_a_hand_over_that_cannot_be_followed_is_tried_again_ever_more_rarely() -> None:
    backup = Backup()
    times: list[float] = []
    while len(times) < 4:
        backup.now += STEP
        if backup.detector.handed_over(backup.now):
            times.append(backup.now - 100.0)
            backup.detector.fruitless(backup.now)
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == [0.25, 0.5, 1.0]


def test_an_elect_is_given_more_time_until_it_serves() -> None:
    backup = Backup(unserved=3)
    backup.wait(1.5)
    assert backup.effects == []
    backup.detector.served()
    backup.wait(STEP)
    assert len(backup.effects) == 1


def test_an_elect_must_show_progress() -> None:
    backup = Backup()
    for n in range(20):
        backup.now += STEP
        backup.detector.heard(backup.now, EPOCH, MAIN, progress=f"step {n}")
        backup.tick()
    assert backup.effects == []
    while not backup.effects:
        backup.now += STEP
        backup.detector.heard(backup.now, EPOCH, MAIN, progress="step 19")
        backup.tick()
    assert backup.now - 101 < 1
    backup.detector.heard(backup.now, EPOCH, MAIN)
    assert backup.verdict() is Verdict.HEALTHY


def test_a_hand_over_is_followed_at_once_and_once() -> None:
    backup = Backup()
    backup.wait(1, hears=True)
    conclusion = backup.detector.handed_over(backup.now)
    assert conclusion is not None
    assert (conclusion.epoch, conclusion.verdict) == (EPOCH, Verdict.HANDED_OVER)
    assert (conclusion.evidence.probe, conclusion.evidence.looked_age) == (None, None)
    assert backup.detector.handed_over(backup.now) is None
    assert backup.tick() is None


def test_a_takeover_that_could_not_be_asked_for_is_tried_again() -> None:
    backup = Backup()
    assert backup.detector.handed_over(backup.now)
    backup.detector.restart(backup.now)
    backup.suspect()
    backup.canary()
    backup.wait(TIMING.probe_timeout)
    backup.look()
    backup.tick()
    assert backup.conclusion() is not None


def test_a_claim_alone_does_not_introduce_a_main() -> None:
    backup = Backup()
    met = [backup.detector.met]
    backup.hear(who=OTHER)
    backup.hear(epoch=EPOCH + 1)
    met.append(backup.detector.met)
    backup.hear()
    met.append(backup.detector.met)
    backup.detector.follow(backup.now, EPOCH + 1, MAIN, 0)  # it began an epoch of its own
    met.append(backup.detector.met)
    backup.detector.follow(backup.now, EPOCH + 2, OTHER, 0)
    met.append(backup.detector.met)
    assert met == [False, False, True, True, False]


def test_an_answer_in_the_folder_introduces_a_main() -> None:
    backup = Backup()
    backup.suspect()
    backup.canary()
    backup.look(backup.nonce(), who=OTHER)
    met = [backup.detector.met]
    backup.look(backup.nonce())
    assert [*met, backup.detector.met] == [False, True]


def test_whoever_follows_nobody_suspects_nobody() -> None:
    detector = Detector(TIMING)
    assert detector.tick(1.0, "n") is None
    assert detector.tick(1.1, "n") is None
    detector.looked(1.1, 1.1, None)
    assert detector.probe is None


def test_the_presets_leave_time_for_several_keep_alives_and_looks() -> None:
    assert PRESETS == {"lan": LAN, "cloud": CLOUD}
    for timing in PRESETS.values():
        assert 3 * timing.keepalive_interval <= timing.suspect_after
        assert 2 * timing.mailbox_interval <= timing.probe_timeout
        assert timing.probe_timeout + timing.folder_grace <= timing.folder_timeout


def late(backup: Backup, turns: int, pause: float, *, hears_every: int = 0) -> None:
    """Let a backup wait for its processor again and again; it probes, its folder is well, and no answer comes."""
    for turn in range(1, turns + 1):
        backup.now += pause
        if hears_every and turn % hears_every == 0:
            backup.hear()
        backup.tick()
        if backup.detector.probe is not None:
            backup.canary()
            backup.look()


@pytest.mark.parametrize("pause", [0.1, 0.2, 0.24, 0.3, 0.6, 1.0, 5.0])
def test_pauses_of_ones_own_in_a_row_are_no_verdict_on_a_main_that_is_heard_between_them(pause: float) -> None:
    backup = Backup(timing=LAN)
    backup.wait(1, hears=True)
    late(backup, 100, pause, hears_every=4)
    assert backup.conclusion() is None
    assert backup.verdict() is Verdict.HEALTHY


@pytest.mark.parametrize("pause", [0.1, 0.2, 0.24, 0.3, 0.6, 1.0, 5.0])
@pytest.mark.parametrize("timing", [LAN, CLOUD])
def test_a_backup_that_is_always_late_takes_over_from_a_silent_main_within_so_many_turns(
    timing: Timing, pause: float
) -> None:
    backup = Backup(timing=timing)
    backup.hear()
    own_seconds = 2 * timing.suspect_after + timing.probe_timeout
    turns = math.ceil(own_seconds / min(pause, timing.keepalive_interval)) + 3
    late(backup, turns, pause)
    conclusion = backup.conclusion()
    assert conclusion is not None
    assert (turns, conclusion.verdict) == (19 if timing is LAN else turns, Verdict.PRIMARY_FAILED)


def test_the_evidence_tells_how_long_the_observer_itself_was_paused() -> None:
    backup = Backup(timing=LAN)
    backup.hear()
    heard = backup.now
    while (conclusion := backup.conclusion()) is None:
        late(backup, 1, 0.2)
    evidence = conclusion.evidence
    assert evidence.keepalive_age == pytest.approx(backup.now - heard)
    assert evidence.paused == pytest.approx((backup.now - heard) * 0.15 / 0.2)
    assert f"and {evidence.paused:.3f} s more in which this member was paused" in evidence.words


def test_a_long_pause_is_part_of_what_did_not_count() -> None:
    backup = Backup()
    backup.hear()
    heard = backup.now
    backup.wait(2 * STEP)
    backup.now += 60
    while (conclusion := backup.conclusion()) is None:
        late(backup, 1, STEP)
    evidence = conclusion.evidence
    assert evidence.keepalive_age is not None
    assert evidence.keepalive_age == pytest.approx(backup.now - heard)
    assert evidence.keepalive_age - evidence.paused <= TIMING.suspect_after + TIMING.probe_timeout + 3 * STEP


@pytest.mark.parametrize(("took", "longer"), [(0.0, 0.0), (STEP, 3 * STEP), (9.0, TIMING.folder_grace)])
def test_where_the_own_canary_took_long_the_main_has_longer_to_answer(took: float, longer: float) -> None:
    backup = Backup()
    backup.suspect()
    backup.canary(took=took)
    kept = backup.now
    while (conclusion := backup.conclusion()) is None:
        backup.look()
        backup.wait(STEP)
    assert conclusion.evidence.probe_timeout == TIMING.probe_timeout + longer
    assert conclusion.evidence.canary_took == took
    assert backup.now - kept == pytest.approx(TIMING.probe_timeout + longer + STEP)


@pytest.mark.parametrize(("paused", "longer"), [(0.0, 0.0), (STEP, STEP), (9.0, 2 * TIMING.suspect_after)])
def test_a_main_that_told_of_a_pause_may_be_paused_for_as_long_again(paused: float, longer: float) -> None:
    backup = Backup()
    backup.hear(paused=paused)
    backup.suspect()
    backup.canary()
    kept = backup.now
    while (conclusion := backup.conclusion()) is None:
        backup.look()
        backup.wait(STEP)
    assert (conclusion.evidence.main_paused, conclusion.verdict) == (paused, Verdict.PRIMARY_FAILED)
    assert backup.now - kept == pytest.approx(TIMING.probe_timeout + longer + STEP)


def test_a_main_whose_connection_closed_is_not_paused_whatever_it_told() -> None:
    backup = Backup()
    backup.hear(paused=9.0)
    backup.closed()
    heard = backup.now
    while backup.conclusion() is None:
        late(backup, 1, STEP)
    assert backup.now - heard <= TIMING.suspect_after + 3 * STEP


def test_the_pauses_of_another_main_say_nothing() -> None:
    backup = Backup()
    backup.hear(paused=9.0)
    backup.detector.follow(backup.own, EPOCH + 1, OTHER, 0)
    late(backup, 100, STEP)
    conclusion = backup.conclusion()
    assert conclusion is not None
    assert conclusion.evidence.main_paused == 0.0
    assert conclusion.evidence.probe_timeout == TIMING.probe_timeout
