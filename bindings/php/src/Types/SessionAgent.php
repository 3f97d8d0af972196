<?php

declare(strict_types=1);

namespace Antenv\Types;

/**
 * The agent of a session, as it was when the session was created.
 */
final class SessionAgent extends Model
{
    public const TYPE = 'agent';

    /** Identifier (`agent_...`). */
    public readonly string $id;

    /** Human-readable name. */
    public readonly string $name;

    /**
     * The skills of the agent, each with `type`, `skill_id` and `version`.
     *
     * @var list<array<string, mixed>>
     */
    public readonly array $skills;

    /**
     * Its tools: toolsets, toolsets of MCP servers, and custom tools, each with a `type`.
     *
     * @var list<array<string, mixed>>
     */
    public readonly array $tools;

    /** Always "agent". */
    public readonly string $type;

    /** The agent's version. */
    public readonly int $version;
}
