"""A backup's judgement of its main: dead main, dead link or dead folder (docs/protocol.md, section 4).

A pure state machine. Time comes in with every call, and what the caller must do comes out: `StartProbe` (write the
probe and, at once, one's own canary) and `Conclude` (ask for a takeover). It is the caller's own time
(`hanas_core.members.owntime`), seconds: a pause of one's own is never a verdict on others.

    keep-alives   answer                            own canary      verdict
    arrive        -                                 -               Healthy
    missing       right nonce, epoch, incarnation   ok              LinkFailed
    missing       none within the time-out          ok              PrimaryFailed   -> takeover
    stalled, hung none within the time-out          ok              PrimaryWedged   -> takeover
    missing       its own seal ends its epoch       ok              PrimaryFailed   -> takeover
    any           "no space"                        ok              FolderFull
    any           -                                 fails or hangs  FolderUnavailable, never a takeover

"None" is known only from a look at the answers that began after the time-out and worked. The time-out grows with what
the own canary took: where the folder is slow here, the main may need as much for each of its steps.

A connection to the main that is closed is a hint: the probe begins at once instead of after a silence. A verdict on the
main needs the silence all the same, so a hint makes it earlier and never another one.
"""

from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from hanas_core.members.timing import Timing
from hanas_core.members.verdicts import Verdict

_FEW_UNSERVED = 16
"""Up to so many claims in a row that never serve, the wait for the next one stays within `most_patience`."""
MOST_UNSERVED = 32
"""More of them make no difference: the wait is the longest long before."""
_STEPS = 3.0
"""For its answer a main needs up to so many times the operations of a probe and its canary."""
_PAUSE = 2.0
"""A main that was paused lately may be so for as long again, up to this, in multiples of `suspect_after`."""
_LONGEST = 40.0
"""The longest wait after more of them, in multiples of `most_patience`: so a day of them gives less than 100 claims."""


class StartProbe(NamedTuple):
    """Write this probe into one's mailbox and try one's canary; report with the same nonce."""

    nonce: str
    epoch: int


class Conclude(NamedTuple):
    """The main of ``epoch`` failed: take over, with the evidence."""

    epoch: int
    verdict: Verdict
    evidence: "Evidence"


class Evidence(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Why a backup concluded that the main failed. Ages and times are seconds before the conclusion."""

    words: str
    keepalive_age: float | None
    """By the clock, with what follows."""
    paused: float = 0.0
    """How much of that time did not count, since this member itself was late or paused."""
    keepalives_heard: int
    stalled_for: float
    hung_for: float = 0.0
    probe: str | None = None
    probe_age: float | None = None
    canary_took: float | None = None
    looked_age: float | None = None
    patience: float = 0.0
    main_paused: float = 0.0
    """The longest pause of its process that the main told with its last keep-alive."""
    probe_timeout: float = 0.0
    """How long an answer was waited for at least."""
    closed_age: float | None = None
    """Since the main's end of an idle connection was closed; None if that was not seen."""


@dataclass
class _Probe:
    """A probe that is out."""

    nonce: str
    started: float
    canary_at: float | None = None
    canary_ok: bool | None = None
    canary_took: float | None = None
    looked_since: float | None = None
    """When the last successful look at the answers began."""


class Detector:
    """Judges the main of one epoch at a time."""

    def __init__(self, timing: Timing) -> None:
        """Follow nobody yet."""
        self._timing = timing
        self._probe: _Probe | None = None
        self._next_probe_at = 0.0
        self._heard_at = 0.0
        self._heard = 0
        self._stalled_for = self._hung_for = 0.0
        self._gave_up = False
        """The main ended its own epoch, by a seal."""
        self._main_paused = 0.0
        """The longest pause that the main told with its last keep-alive."""
        self._progress: str | None = None
        self._concluded = False
        self._paused = self._paused_before = 0.0
        """How long this process was paused so far, and when the main was last heard."""
        self._excused = False
        """The present silence began anew after a long pause of one's own; that happens once for each silence."""
        self._closed_at: float | None = None
        self._met: str | None = None
        """The incarnation that last proved to live on this folder, to this process."""
        self._fruitless = 0
        """How many conclusions about this epoch, one after the other, led to nothing."""
        self._not_before = 0.0
        """No conclusion is drawn before; nothing is probed for it either."""
        self.epoch = 0
        self.incarnation = ""
        self.patience = timing.suspect_after
        self.verdict = Verdict.UNKNOWN
        self.verdict_since = 0.0

    @property
    def probe(self) -> StartProbe | None:
        """The probe that is out, if any: its answer is worth looking for."""
        return StartProbe(self._probe.nonce, self.epoch) if self._probe else None

    @property
    def met(self) -> bool:
        """Whether the main of this epoch was heard, or answered, since this process started.

        A claim proves nothing by itself: in a copied folder it names the main of another cluster.
        """
        return self._met == self.incarnation

    def follow(self, now: float, epoch: int, incarnation: str, unserved: int) -> None:
        """Judge the main of a newer epoch from now on; every suspicion about an older one ends.

        ``unserved``: how many epochs were claimed since the last one that served. The patience doubles with each.
        """
        self.epoch, self.incarnation = epoch, incarnation
        self._heard, self._progress, self._main_paused, self._excused = 0, None, 0.0, False
        self._fruitless, self._not_before = 0, 0.0
        self._gave_up = False
        self.served(unserved)
        self.restart(now)
        self._set(now, Verdict.UNKNOWN)

    def served(self, unserved: int = 0) -> None:
        """Set the patience: the ordinary one is enough for an epoch that has a manifest.

        It doubles with each epoch that has none: in two stretches, the second one behind `_FEW_UNSERVED`.
        """
        few = min(unserved, _FEW_UNSERVED)
        more = min(unserved, MOST_UNSERVED) - few
        self.patience = min(self._doubled(few) * 2.0**more, _LONGEST * self._most)

    @property
    def _most(self) -> float:
        return max(self._timing.most_patience, self._timing.suspect_after)

    def _doubled(self, times: int) -> float:
        return min(self._timing.suspect_after * 2.0 ** min(times, 64), self._most)

    def fruitless(self, now: float) -> None:
        """Let suspicion start anew after a conclusion that led to no claim; the next one waits longer each time."""
        self.restart(now)
        self._not_before = now + self._doubled(self._fruitless)
        self._fruitless += 1

    def restart(self, now: float) -> None:
        """Let suspicion start anew."""
        self._paused_before = self._paused
        self._begin_anew(now)

    def _begin_anew(self, now: float) -> None:
        self._heard_at = self._next_probe_at = now
        self._stalled_for = self._hung_for = 0.0
        self._probe = self._closed_at = None
        self._concluded = False

    def closed(self, now: float, epoch: int) -> None:
        """Take a hint: the main's end of an idle connection was closed, as the kernel does when a process dies."""
        if epoch == self.epoch:
            self._closed_at = now

    def gave_up(self, epoch: int) -> None:
        """Take note that the main itself sealed its epoch after it had served: it will answer no probe."""
        self._gave_up = self._gave_up or epoch == self.epoch

    def heard(
        self,
        now: float,
        epoch: int,
        incarnation: str,
        *,
        stalled_for: float = 0.0,
        hung_for: float = 0.0,
        paused: float = 0.0,
        full: bool = False,
        progress: str | None = None,
    ) -> None:
        """Take note of a keep-alive. ``stalled_for``: age of the main's oldest uncommitted batch, seconds.

        ``hung_for``: how long no call on the folder has come back to the main, seconds.
        ``paused``: the longest pause of the main's process lately, seconds.
        ``progress``: how far a main-elect is; one that makes none counts as silent.
        """
        stuck = progress is not None and progress == self._progress
        if stuck or (epoch, incarnation) != (self.epoch, self.incarnation):
            return
        self._progress, self._excused = progress, False
        self._paused_before = self._paused
        self._fruitless, self._not_before = 0, 0.0
        self._heard_at, self._heard, self._met = now, self._heard + 1, incarnation
        self._stalled_for, self._hung_for, self._main_paused = stalled_for, hung_for, paused
        if self._suspicious(now):
            return
        if not self._hinted(now):
            self._probe = None
        self._set(now, Verdict.FOLDER_FULL if full else Verdict.HEALTHY)

    def canary(self, now: float, nonce: str, *, ok: bool, took: float) -> None:
        """Take note whether the folder kept the canary that went with the probe ``nonce``.

        ``took``: how long both took by the clock, seconds.
        """
        if self._probe is not None and self._probe.nonce == nonce and self._probe.canary_ok is None:
            self._probe.canary_at, self._probe.canary_ok, self._probe.canary_took = now, ok, took

    def looked(self, now: float, since: float, answered: tuple[str, int, str, bool] | None) -> None:
        """Take note of the answer (nonce, epoch, incarnation, full) that a look found which began at ``since``."""
        if self._probe is None or self._concluded:
            return
        nonce, epoch, incarnation, full = answered or ("", 0, "", False)
        if (nonce, epoch, incarnation) != (self._probe.nonce, self.epoch, self.incarnation):
            self._probe.looked_since = since
            return
        canary_ok = self._probe.canary_ok
        self._probe = self._closed_at = None
        self._met = incarnation
        self._next_probe_at = now + self._timing.probe_interval
        if canary_ok is False:
            self._set(now, Verdict.FOLDER_UNAVAILABLE)
        elif full:
            self._set(now, Verdict.FOLDER_FULL)
        else:
            self._set(now, Verdict.LINK_FAILED if self._silent(now) else Verdict.HEALTHY)

    def handed_over(self, now: float) -> Conclude | None:
        """Conclude at once that the main sealed its own epoch as a planned hand-over; None if that was concluded."""
        if self._concluded or now < self._not_before:
            return None
        words = "the main handed over: it sealed its own epoch after it had served"
        return self._conclude(now, Verdict.HANDED_OVER, words)

    def tick(self, now: float, nonce: str, paused: float = 0.0) -> StartProbe | Conclude | None:
        """Return what to do after time has passed, with ``nonce`` for a new probe. To be called often.

        ``paused``: how much time did not count so far, seconds.
        """
        overslept = paused - self._paused > self._timing.suspect_after
        self._paused = paused
        if self.epoch == 0 or self._concluded:
            return None
        if overslept and not self._excused:
            # After a long pause, perhaps of all machines at once, the main has its whole time again. Only once: a
            # machine which is always late takes over as well.
            self._paused_before -= now - self._heard_at
            self._begin_anew(now)
            self._excused = True
            return None
        if not self._suspicious(now) and not self._hinted(now):
            self._probe = None
            return None
        if self._probe is None:
            if now < max(self._next_probe_at, self._not_before):
                return None
            self._probe = _Probe(nonce, now)
            return StartProbe(nonce, self.epoch)
        return self._judge(now, self._probe)

    def _suspicious(self, now: float) -> bool:
        return self._silent(now) or self._stalled or self._hung_for > self._timing.suspect_after

    def _silent(self, now: float) -> bool:
        return now - self._heard_at >= self.patience

    @property
    def _stalled(self) -> bool:
        return self._stalled_for > self._timing.stall_limit

    @property
    def _hung(self) -> bool:
        """The main's folder is silent for as long as a main may be that is replaced."""
        return self._hung_for > self._timing.suspect_after + self._timing.probe_timeout

    def _hinted(self, now: float) -> bool:
        """A hint counts until the silence tells as much, and a little longer: the last keep-alive may come after it."""
        return self._closed_at is not None and now - self._closed_at < 2 * self.patience

    def _judge(self, now: float, probe: _Probe) -> Conclude | None:
        # The main has its time from when the probe was in the folder for sure: the canary was written after it. A
        # folder that hung for all comes back for all at once, and the main must read the probe first, and answer it.
        begin = probe.canary_at if probe.canary_ok and probe.canary_at is not None else probe.started
        waited, timeout = now - begin, self._timeout(now, probe)
        if self._gave_up and probe.canary_ok and self._silent(now):
            words = (
                f"no keep-alive for {now - self._heard_at:.3f} s, and the main itself has sealed its epoch, "
                "while this member's own canary was kept: the main failed"
            )
            return self._conclude(now, Verdict.PRIMARY_FAILED, words)
        if waited < timeout:
            return None
        looked = probe.looked_since is not None and probe.looked_since >= begin + timeout
        if probe.canary_ok and looked:
            if self._silent(now):
                paused = self._paused - self._paused_before
                slept = f" and {paused:.3f} s more in which this member was paused" if paused else ""
                hint = "" if self._closed_at is None else f", its connection closed {now - self._closed_at:.3f} s ago,"
                words = (
                    f"no keep-alive for {now - self._heard_at:.3f} s{slept}{hint} and no answer in the folder within "
                    f"{waited:.3f} s while this member's own canary was kept: the main failed"
                )
                return self._conclude(now, Verdict.PRIMARY_FAILED, words)
            if not (self._stalled or self._hung):
                return None
            wait = (
                f"a write has waited {self._stalled_for:.3f} s for its commit"
                if self._stalled
                else f"nothing has come back from the main's folder for {self._hung_for:.3f} s"
            )
            words = (
                f"keep-alives arrive, but {wait} and the probe found no answer within {waited:.3f} s, while this "
                "member's own canary was kept: the main is wedged"
            )
            return self._conclude(now, Verdict.PRIMARY_WEDGED, words)
        if probe.canary_ok is False or waited >= timeout + self._timing.folder_grace:
            self._probe = None
            self._next_probe_at = now + self._timing.probe_interval
            self._set(now, Verdict.FOLDER_UNAVAILABLE)
        return None

    def _timeout(self, now: float, probe: _Probe) -> float:
        """Return how long to wait for an answer: longer where the folder is slow, or the main was paused lately.

        A process whose connection was closed is not paused. A folder that was away for this member may be away for the
        main for longer, whose client has its own times to try again.
        """
        timing = self._timing
        slow = min(_STEPS * (probe.canary_took or 0.0), timing.folder_grace)
        late = 0.0 if self._hinted(now) else min(self._main_paused, _PAUSE * timing.suspect_after)
        away = self.verdict is Verdict.FOLDER_UNAVAILABLE and not self._silent(now)
        return timing.probe_timeout + slow + late + (timing.stall_limit if away else 0.0)

    def _conclude(self, now: float, verdict: Verdict, words: str) -> Conclude:
        self._concluded = True
        probe = self._probe
        evidence = Evidence(
            words=words,
            keepalive_age=now - self._heard_at + self._paused - self._paused_before if self._heard else None,
            paused=self._paused - self._paused_before,
            keepalives_heard=self._heard,
            stalled_for=self._stalled_for,
            hung_for=self._hung_for,
            probe=probe.nonce if probe else None,
            probe_age=now - probe.started if probe else None,
            canary_took=probe.canary_took if probe else None,
            looked_age=now - probe.looked_since if probe and probe.looked_since is not None else None,
            patience=self.patience,
            main_paused=self._main_paused,
            probe_timeout=self._timeout(now, probe) if probe else 0.0,
            closed_age=None if self._closed_at is None else now - self._closed_at,
        )
        self._set(now, verdict)
        return Conclude(self.epoch, verdict, evidence)

    def _set(self, now: float, verdict: Verdict) -> None:
        if verdict is not self.verdict:
            self.verdict, self.verdict_since = verdict, now
