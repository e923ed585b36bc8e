"""Questions to the sites' nodes: each has a deadline, and a node that owes an answer is asked nothing else.

Flower sends no message again. So a node for which Flower reports an error is asked again within the deadline: one that
was gone once it is online, one whose app died a few times after a pause. A site that may not work at this hour is
waited for as one that is not there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from common.parcel import Wrapper, unwrap
from common.records import ANSWER, OUTSIDE_HOURS, Answer, WireError, read_text

ANSWERED = "answered"
LATE = "late"
BUSY = "busy"
UNREACHABLE = "unreachable"
NODE_ERROR = "node-error"

FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 1.0

GONE = 5
"""Flower's code for a node that is not online."""
PASSING = frozenset({0, 3, 4, 8})
"""Flower's codes for what a second try may mend: unknown, message or reply lost, the app died."""
TRIES = 3
"""How often a node is asked whose errors may pass; a node that is gone is asked whenever it comes back."""
RETRY_PAUSE_S = 2.0
HOURS_PAUSE_S = 60.0
"""When a site that may not work at this hour is asked again; every question costs it a process."""


@dataclass(frozen=True)
class Reply:
    """What became of one question.

    Attributes:
        node: the node that was asked.
        code: `answered`, `late`, `outside-hours`, `busy` (still owes an earlier answer), `unreachable`, `malformed` or
            `node-error-<Flower's code>`.
        content: the answer; None unless answered.
        seconds: from the question until now.
    """

    node: int
    code: str
    content: RecordDict | None
    seconds: float


Again = Callable[[Reply], RecordDict | None]
"""What to say to a node whose answer asks for more, None where the answer is final."""


@dataclass(frozen=True)
class Patience:
    """For how long nodes that cannot be reached hold a question open; a node that is at work holds it to the deadline.

    Attributes:
        absence_s: seconds for which an absent or busy node is waited for in any case.
        given_up: nodes that are not even waited for so long; they are asked where they come back in time.
        satisfied: whether what has come in is enough; where it is not, everybody is waited for until the deadline.
    """

    absence_s: float = 0.0
    given_up: frozenset[int] = frozenset()
    satisfied: Callable[[], bool] = lambda: True

    def holds(self, node: int, waited_s: float) -> bool:
        """Return whether an unreachable node is still waited for."""
        return (waited_s < self.absence_s and node not in self.given_up) or not self.satisfied()


@dataclass
class _Open:
    """A node without a final reply: its code if the question ended now, failed tries, when it may be asked again.

    `said_again` is whether `content` has been replaced by what its first answer asked for.
    """

    content: RecordDict
    code: str = BUSY
    tries: int = 0
    again_at: float = 0.0
    message: str = ""
    said_again: bool = False


@dataclass
class _Question:
    """One question to several nodes while it is open."""

    message_type: str
    group: str
    deadline_s: float
    patience: Patience
    open: dict[int, _Open]
    again: Again
    began: float = field(default_factory=lambda: time.monotonic())

    @property
    def waited_s(self) -> float:
        return time.monotonic() - self.began

    def goes_on(self) -> bool:
        """Return whether somebody is still waited for."""
        if self.waited_s >= self.deadline_s:
            return False
        return any(
            each.message or each.tries or self.patience.holds(node, self.waited_s) for node, each in self.open.items()
        )


class Exchange:
    """Talks to nodes over a Flower grid; remembers which of them still owe an answer.

    Args:
        grid: Flower's.
        safe_point: called between answers; it may raise to end the run, or stand still and return for how many
            seconds it did, by which deadlines are put off.
        on_late: hears node and group of each answer that came after its deadline and counts nowhere.
    """

    def __init__(
        self,
        grid: Grid,
        safe_point: Callable[[], float] = lambda: 0.0,
        on_late: Callable[[int, str], None] = lambda node, group: None,
    ) -> None:
        self._grid, self.safe_point, self.on_late = grid, safe_point, on_late
        self._owed: dict[str, tuple[int, str]] = {}
        self._wrap = Wrapper()

    def nodes(self) -> tuple[int, ...]:
        """Return the nodes that are online, sorted."""
        return tuple(sorted(self._grid.get_node_ids()))

    def ask(
        self,
        contents: Mapping[int, RecordDict],
        message_type: str,
        group: str,
        deadline_s: float,
        patience: Patience | None = None,
        again: Again = lambda reply: None,
    ) -> Iterator[Reply]:
        """Send each node its content and yield each reply as it arrives; the rest as `late` once the deadline is over.

        A node for whose first answer `again` has another content is sent that at once; its second answer is final. Late
        answers to earlier questions are taken in, so that their node is free again, and thrown away.
        """
        opened = {node: _Open(contents[node]) for node in sorted(contents)}
        question = _Question(message_type, group, deadline_s, patience or Patience(), opened, again)
        pause_s = FIRST_PAUSE_S
        yield from self._take_in(question)
        self._send_what_can_be(question)
        while question.goes_on():
            question.began += self.safe_point()
            arrived = list(self._take_in(question))
            yield from arrived
            self._send_what_can_be(question)
            pause_s = FIRST_PAUSE_S if arrived else min(2 * pause_s, LONGEST_PAUSE_S)
            if not arrived and question.goes_on():
                time.sleep(pause_s)
        for node in sorted(question.open):
            yield Reply(node, question.open[node].code, None, question.waited_s)

    def tell(
        self, contents: Mapping[int, RecordDict], message_type: str, group: str, deadline_s: float
    ) -> dict[int, RecordDict | None]:
        """Send each node a message, even behind one that it has not answered; return what came in time, by node.

        An answer that does not hold what it promises is None.
        """
        sent = {node: self._push(node, contents[node], message_type, group, deadline_s) for node in sorted(contents)}
        waiting = {identifier: node for node, identifier in sent.items() if identifier}
        answered: dict[int, RecordDict | None] = {}
        began = time.monotonic()
        while waiting and time.monotonic() - began < deadline_s:
            arrived = list(self._grid.pull_messages(list(waiting)))
            for message in arrived:
                node = waiting.pop(message.metadata.reply_to_message_id)
                if not message.has_error():
                    answered[node] = _answered(node, message, time.monotonic() - began).content
            if waiting and not arrived:
                time.sleep(FIRST_PAUSE_S)
        return answered

    def _send_what_can_be(self, question: _Question) -> None:
        """Send to the nodes that owe nothing and that may be asked now."""
        busy = {node for node, _ in self._owed.values()}
        due = {
            node: each
            for node, each in question.open.items()
            if not each.message and node not in busy and question.waited_s >= each.again_at
        }
        back = set(self.nodes()) if any(each.code == UNREACHABLE for each in due.values()) else set()
        for node, each in due.items():
            if each.code == UNREACHABLE and node not in back:
                each.again_at = question.waited_s + LONGEST_PAUSE_S
                continue
            left_s = max(question.deadline_s - question.waited_s, FIRST_PAUSE_S)
            each.message = self._push(node, each.content, question.message_type, question.group, left_s)
            if each.message:
                self._owed[each.message] = (node, question.group)
                each.code = LATE
            else:
                each.code, each.again_at = UNREACHABLE, question.waited_s + LONGEST_PAUSE_S

    def _push(self, node: int, content: RecordDict, message_type: str, group: str, ttl_s: float) -> str:
        """Send one message; return its identifier, or nothing where Flower did not take it."""
        message = Message(self._wrap(content), node, message_type, ttl=ttl_s, group_id=group)
        return next((identifier for identifier in self._grid.push_messages([message]) if identifier), "")

    def _take_in(self, question: _Question) -> Iterator[Reply]:
        """Pull what has arrived, strike it off the list of what is owed, and yield what is final."""
        if not self._owed:
            return
        for message in list(self._grid.pull_messages(list(self._owed))):
            identifier = message.metadata.reply_to_message_id
            node, group = self._owed.pop(identifier, (0, ""))
            each = question.open.get(node)
            if each is None or each.message != identifier:
                if not message.has_error():
                    self.on_late(node, group)
            elif not message.has_error():
                reply = _answered(node, message, question.waited_s)
                if not (_is_away(question, each, reply) or _says_again(question, each, reply)):
                    del question.open[node]
                    yield reply
            elif not self._may_ask_again(each, message.error.code, question.waited_s):
                del question.open[node]
                yield Reply(node, f"{NODE_ERROR}-{message.error.code}", None, question.waited_s)

    def _may_ask_again(self, each: _Open, error: int, waited_s: float) -> bool:
        """Put a node for which Flower reports an error back among those to be asked, where that may help."""
        if error == GONE:
            each.code, each.message, each.again_at = UNREACHABLE, "", waited_s + LONGEST_PAUSE_S
            return True
        each.tries += 1
        if error not in PASSING or each.tries >= TRIES:
            return False
        each.code, each.message = f"{NODE_ERROR}-{error}", ""
        each.again_at = waited_s + RETRY_PAUSE_S * 2 ** (each.tries - 1)
        return True


def _is_away(question: _Question, each: _Open, reply: Reply) -> bool:
    """Put a node whose site may not work at this hour back among those that are not there."""
    try:
        if reply.content is None or read_text(reply.content, ANSWER, Answer).code != OUTSIDE_HOURS:
            return False
    except WireError:
        return False
    each.code, each.message, each.again_at = OUTSIDE_HOURS, "", question.waited_s + HOURS_PAUSE_S
    return True


def _says_again(question: _Question, each: _Open, reply: Reply) -> bool:
    """Put a node whose answer asks for more back among those to be asked, now, with what it asked for."""
    content = None if each.said_again else question.again(reply)
    if content is None:
        return False
    each.content, each.said_again, each.message, each.again_at = content, True, "", 0.0
    return True


def _answered(node: int, message: Message, seconds: float) -> Reply:
    """Return the reply with its arrays unwrapped, or the code of a parcel that does not hold what it promises."""
    try:
        return Reply(node, ANSWERED, unwrap(message.content), seconds)
    except WireError as error:
        return Reply(node, error.code, None, seconds)
