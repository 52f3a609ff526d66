"""OTP's supervisor rules in few lines, run to the end at once: what the real tree is held against."""

from __future__ import annotations

from dataclasses import dataclass, field

from supervision import AutoShutdown, ChildSpec, Restart, Spec, Strategy, SupervisorSpec

RESTS = ("down", "declined")


@dataclass(eq=False, repr=False)
class Member:
    """One child in one tenure of its supervisor."""

    spec: Spec
    parent: Member | None
    state: str = "down"
    children: list[Member] = field(default_factory=list)
    crashes: list[float] = field(default_factory=list)
    exemptions: list[float] = field(default_factory=list)
    failures: int = 0
    up_since: float = 0.0
    age: int = 0
    awaited: list[Member] = field(default_factory=list)
    due: float = 0.0
    group_due: float = 0.0

    def __repr__(self) -> str:
        return f"{self.name} ({self.state})"

    @property
    def name(self) -> str:
        """Its name in the tree."""
        return self.spec.name


class Model:
    """The tree by the rules: synchronous, recursive, without threads, messages or kernel."""

    def __init__(self, root: SupervisorSpec, failing: dict[str, float], declining: set[str]) -> None:
        self.now = 0.0
        self.failing = dict(failing)
        self.declining = set(declining)
        self.diary: list[tuple[str, str, int]] = []
        self.epochs: dict[str, int] = {}
        self.root = Member(root, None)
        self.gave_up = False
        self._age = 0

    # Starting and stopping.

    def start(self, member: Member) -> bool:
        """Starts it and all below; whether it came up (or declined)."""
        member.state, member.awaited = "up", []
        if isinstance(member.spec, ChildSpec):
            return self._start_worker(member)
        member.crashes = []
        member.children = [Member(spec, member) for spec in member.spec.children]
        for child in list(member.children):
            if not self.start(child):
                self._stop_children(member)
                member.state = "down"
                return False
        member.up_since = self.now
        return True

    def _start_worker(self, member: Member) -> bool:
        name = member.name
        self.epochs[name] = self.epochs.get(name, 0) + 1
        self._age += 1
        member.age = self._age
        self.diary.append(("start", name, self.epochs[name]))
        member.up_since = self.now
        if name in self.declining:
            member.state = "declined"
            self._forget_if_temporary(member)
        elif self.failing.get(name, 0) > 0:
            self.failing[name] -= 1
            member.state = "down"
            return False
        return True

    def stop(self, member: Member) -> None:
        """Stops it and all below."""
        if member.state == "up":
            if isinstance(member.spec, ChildSpec):
                self.diary.append(("stop", member.name, self.epochs[member.name]))
            else:
                self._stop_children(member)
            member.state = "down"
            self._reset_if_stable(member)

    def _stop_children(self, member: Member) -> None:
        assert isinstance(member.spec, SupervisorSpec)
        order = member.children[::-1]
        if member.spec.strategy is Strategy.POOL:
            order = sorted(member.children, key=lambda child: child.age)
        member.awaited = []
        for child in order:
            running = child.state == "up"
            self.stop(child)
            if running:
                self._forget_if_temporary(child)
            elif child.state == "restarting":
                child.state = "down"

    def _forget_if_temporary(self, member: Member) -> None:
        if member.spec.restart is Restart.TEMPORARY and member.parent is not None:
            member.parent.children.remove(member)

    # Ends and restarts.

    def _reset_if_stable(self, member: Member) -> None:
        if member.parent is not None:
            assert isinstance(member.parent.spec, SupervisorSpec)
            if self.now - member.up_since >= member.parent.spec.stable_seconds:
                member.failures = 0

    def exits(self, member: Member, abnormal: bool) -> None:
        """It has ended of its own accord."""
        if isinstance(member.spec, ChildSpec):
            self.stop(member)
        member.state = "down"
        parent, kind = member.parent, member.spec.restart
        if parent is None:
            self.gave_up = True
            return
        if kind is Restart.PERMANENT or (kind is Restart.TRANSIENT and abnormal):
            self._restart(parent, member, exempt=abnormal and self._exempts(member))
            return
        self._forget_if_temporary(member)
        assert isinstance(parent.spec, SupervisorSpec)
        left = [c for c in parent.children if c.spec.significant and c.state not in RESTS]
        every = parent.spec.auto_shutdown is AutoShutdown.ALL_SIGNIFICANT
        if member.spec.significant and not (every and left):
            self._end(parent)

    def _end(self, supervisor: Member) -> None:
        self._stop_children(supervisor)
        self._reset_if_stable(supervisor)
        self.exits(supervisor, abnormal=False)

    def _exempts(self, member: Member) -> bool:
        spec = member.spec
        if not isinstance(spec, ChildSpec) or spec.exempt_from_max_restarts is None:
            return False
        member.exemptions = [at for at in member.exemptions if at >= self.now - spec.window_seconds] + [self.now]
        return len(member.exemptions) <= spec.max_exempt_restarts

    def _restart(self, parent: Member, member: Member, exempt: bool = False) -> None:
        spec = parent.spec
        assert isinstance(spec, SupervisorSpec)
        if not exempt:
            parent.crashes = [at for at in parent.crashes if at >= self.now - spec.window_seconds] + [self.now]
        if not exempt and len(parent.crashes) > spec.max_restarts:
            self._end(parent)
            return
        delay = min(spec.backoff_max_seconds, spec.backoff_base_seconds * 2**member.failures)
        member.failures += 1
        member.due = self.now + delay
        if spec.strategy in (Strategy.ONE_FOR_ONE, Strategy.POOL):
            member.state = "restarting"
        else:
            self._restart_group(parent, member)
        if delay == 0:
            self.run_due(parent)

    def _restart_group(self, parent: Member, member: Member) -> None:
        assert isinstance(parent.spec, SupervisorSpec)
        first = 0 if parent.spec.strategy is Strategy.ONE_FOR_ALL else parent.children.index(member)
        group = [c for n, c in enumerate(parent.children) if n >= first or c in parent.awaited]
        parent.group_due = max(member.due, parent.group_due if parent.awaited else 0.0)
        member.state = "restarting"
        for child in reversed(group):
            self.stop(child)
        for child in group:
            self._forget_if_temporary(child)
        parent.awaited = [child for child in group if child in parent.children]

    def run_due(self, parent: Member) -> None:
        """Starts what is due in that supervisor."""
        while parent.state == "up" and parent.awaited and parent.group_due <= self.now:
            child = parent.awaited[0]
            if child.state == "up" or self.start(child):
                parent.awaited = parent.awaited[1:]
            else:
                self._restart(parent, child)
        for child in [c for c in parent.children if c.state == "restarting" and c not in parent.awaited]:
            still_due = parent.state == "up" and child.state == "restarting" and child.due <= self.now
            if still_due and not self.start(child):
                self._restart(parent, child)

    def passes(self, seconds: float) -> None:
        """Time goes on; what becomes due is done at its instant, in its order."""
        until = self.now + seconds
        while due := [found for m in self.everyone() for found in self._due(m) if found[0] <= until]:
            self.now, _, parent = min(due, key=lambda found: found[0])
            self.run_due(parent)
        self.now = until

    def _due(self, member: Member) -> list[tuple[float, str, Member]]:
        if member.state != "up":
            return []
        found = [(member.group_due, member.name, member)] if member.awaited else []
        return found + [
            (child.due, child.name, member)
            for child in member.children
            if child.state == "restarting" and child not in member.awaited
        ]

    # Commands.

    def terminate(self, member: Member) -> None:
        """terminate_child."""
        assert member.parent is not None
        if member in member.parent.awaited:
            member.parent.awaited.remove(member)
        if member.state == "restarting":
            member.state = "down"
        self.stop(member)
        self._forget_if_temporary(member)

    def at_rest(self, member: Member) -> str | None:
        """What restart_child and delete_child refuse it for."""
        assert member.parent is not None
        if member.state == "restarting" or member in member.parent.awaited:
            return "ChildRestarting"
        return "ChildRunning" if member.state == "up" else None

    def restart_child(self, member: Member) -> str | None:
        """restart_child: what it is refused for."""
        return self.at_rest(member) or (None if self.start(member) else "StartFailed")

    def delete_child(self, member: Member) -> str | None:
        """delete_child: what it is refused for."""
        refusal = self.at_rest(member)
        if refusal is None and member.parent is not None:
            member.parent.children.remove(member)
        return refusal

    def start_child(self, parent: Member, spec: ChildSpec) -> str | None:
        """start_child: what it is refused for."""
        member = Member(spec, parent)
        parent.children.append(member)
        if self.start(member):
            return None
        parent.children.remove(member)
        return "StartFailed"

    # Looking.

    def everyone(self) -> list[Member]:
        """All members, from the root down."""
        found = [self.root]
        for member in found:
            found.extend(member.children)
        return found

    def states(self) -> dict[str, str]:
        """The state of everyone, by name."""
        return {member.name: member.state for member in self.everyone()}
