"""All timings, in seconds, on the monotonic clock of one machine; no two clocks are ever compared."""

import msgspec


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """How often, how long, how patient. Each is set by ``HANAS_<NAME>`` in upper case."""

    keepalive_interval: float
    """The main sends a keep-alive to every other member this often."""
    suspect_after: float
    """A backup that heard nothing for this long probes the main."""
    probe_timeout: float
    """A probe that found no answer for this long means a dead main."""
    probe_interval: float
    """While a link is down, the main is probed this long after its last answer."""
    folder_grace: float
    """The canary and the last look at the answers may take this much longer before the folder counts as unavailable."""
    link_confirm: float
    """A link must be down this long before an alert is raised, and up this long before it is cleared."""
    stall_limit: float
    """A main whose oldest write waits longer than this for its commit is probed although its keep-alives arrive."""
    mailbox_interval: float
    """The mailboxes are read this often by the main, and by a backup whose probe is out."""
    tail_interval: float
    """A backup looks for new batches this often when no keep-alive announces them."""
    watch_interval: float
    """Members and overseers look for a newer epoch this often."""
    presence_interval: float
    """A member shows that it lives this often; one silent for three of these counts as gone."""
    folder_timeout: float
    """An operation on the folder is given up after this long."""
    overseer_timeout: float
    """A call to an overseer is given up after this long; then the next one is asked, and at last the folder."""
    isolation_after: float
    """A main that has reached no backup and no overseer for this long counts as isolated."""
    most_patience: float = 30.0
    """The wait before following an epoch that never served doubles up to this."""
    leftovers_after: float = 60.0
    """The main removes temporary files of an incarnation that has shown no life for this long."""


LAN = Timing(
    keepalive_interval=0.05,
    suspect_after=0.25,
    probe_timeout=0.3,
    probe_interval=0.2,
    folder_grace=0.5,
    link_confirm=1.0,
    stall_limit=1.0,
    mailbox_interval=0.04,
    tail_interval=0.05,
    watch_interval=0.2,
    presence_interval=0.5,
    folder_timeout=4.0,
    overseer_timeout=0.5,
    isolation_after=1.0,
)
CLOUD = Timing(
    keepalive_interval=0.25,
    suspect_after=1.5,
    probe_timeout=1.5,
    probe_interval=1.0,
    folder_grace=3.0,
    link_confirm=5.0,
    stall_limit=5.0,
    mailbox_interval=0.2,
    tail_interval=0.2,
    watch_interval=0.5,
    presence_interval=2.0,
    folder_timeout=15.0,
    overseer_timeout=2.0,
    isolation_after=6.0,
)
PRESETS = {"lan": LAN, "cloud": CLOUD}
