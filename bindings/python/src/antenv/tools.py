"""Tools of an agent, from functions: `antenv.tool` and what goes with it.

@antenv.tool
def weather(city: str) -> str:
    \"\"\"Returns the weather of a city.\"\"\"
    return "12 degrees"

antenv.tools.definition(weather)  # for the agent's `tools`
lease.serve([weather])
"""

from __future__ import annotations

from ._content import Block, Content, Document, Image
from ._tool_call import ToolCall
from ._tools import AnyTool, Tool, ToolError, definition, schema, tool

__all__ = [
    "AnyTool",
    "Block",
    "Content",
    "Document",
    "Image",
    "Tool",
    "ToolCall",
    "ToolError",
    "definition",
    "schema",
    "tool",
]
