"""A ServerApp for tests: sends the messages that a file lists, and writes down what comes back. It needs no torch."""

import json
import time
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Read `out`/messages.json, send, wait, write `out`/replies.json: per message the code of an error, or records."""
    folder = Path(context.run_config["out"])
    asked = json.loads((folder / "messages.json").read_text())
    messages = [
        Message(
            content=RecordDict({key: ConfigRecord({"json": text}) for key, text in each["records"].items()}),
            dst_node_id=each["node"],
            message_type=each["kind"],
        )
        for each in asked
    ]
    numbers = list(grid.push_messages(messages))
    found = {}
    until = time.monotonic() + 120
    while len(found) < len(numbers) and time.monotonic() < until:
        for reply in grid.pull_messages(set(numbers) - set(found)):
            found[reply.metadata.reply_to_message_id] = described(reply)
        time.sleep(0.2)
    part = folder / "replies.part"
    part.write_text(json.dumps([found.get(number) for number in numbers]))
    part.rename(folder / "replies.json")


def described(reply: Message) -> dict:
    """Return an error's code, or the texts of all records."""
    if reply.has_error():
        return {"error": reply.error.code, "reason": reply.error.reason}
    return {key: dict(record) for key, record in reply.content.items()}
