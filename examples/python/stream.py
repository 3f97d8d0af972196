"""Sends a message to a session and prints what happens, until the turn is over. Calls of the tool "clock" are answered.

Reads ANTHROPIC_API_KEY and, if it is set, ANTHROPIC_BASE_URL. The argument is the session's identifier.
"""

import sys
from datetime import datetime

import antenv

(session_id,) = sys.argv[1:]

with antenv.Client() as client:
    events = client.sessions.events
    # The stream has what happens from its opening on, so it is opened before the message is sent.
    with events.stream(session_id) as stream:
        events.send(
            session_id,
            events=[{"type": "user.message", "content": [{"type": "text", "text": "What time is it?"}]}],
        )
        for event in stream:
            if event["type"] == "agent.message":
                print("agent:", *(block["text"] for block in event["content"] if block["type"] == "text"))
            elif event["type"] == "agent.custom_tool_use" and event["name"] == "clock":
                print("calls:", event["name"], event["input"])
                events.send(
                    session_id,
                    events=[
                        {
                            "type": "user.custom_tool_result",
                            "custom_tool_use_id": event["id"],
                            "content": [{"type": "text", "text": datetime.now().isoformat()}],
                        }
                    ],
                )
            elif event["type"] == "session.status_idle" and event["stop_reason"]["type"] != "requires_action":
                print("idle:", event["stop_reason"]["type"])
                break
            elif event["type"] == "session.status_terminated":
                break
